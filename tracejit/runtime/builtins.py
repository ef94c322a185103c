"""Functions that LLVM's code generator may call for what a processor lacks, and that no C library of ours provides.

f64 -> f16: where it sees through a conversion by way of f32, LLVM calls compiler-rt's `__truncdfhf2`.
"""
from __future__ import annotations

from tracejit.runtime import native

TEXT = """
; The nearest half of a double, ties to even, by integer arithmetic on its bits.
define half @__truncdfhf2(double %x) {
entry:
  %bits = bitcast double %x to i64
  %top = lshr i64 %bits, 48
  %sign = and i64 %top, 32768
  %abs = and i64 %bits, 9223372036854775807
  %nan = icmp ugt i64 %abs, 9218868437227405312          ; above infinity
  %huge = icmp uge i64 %abs, 4679237813814689792         ; 65520 rounds to infinity
  %normal = icmp uge i64 %abs, 4544132024016830464       ; 2**-14, the smallest normal half
  %based = sub i64 %abs, 4539628424389459968             ; exponent bias 1023 -> 15
  %last = lshr i64 %based, 42
  %odd = and i64 %last, 1
  %up = add i64 %based, 2199023255551                    ; a half of the last place, less one
  %even = add i64 %up, %odd
  %rounded = lshr i64 %even, 42
  %magnitude = bitcast i64 %abs to double
  %shifted = fadd double %magnitude, 268435456.0         ; 2**28: its last place is 2**-24, the smallest half
  %shifted_bits = bitcast double %shifted to i64
  %tiny = sub i64 %shifted_bits, 4733283208366391296
  %small = select i1 %normal, i64 %rounded, i64 %tiny
  %finite = select i1 %huge, i64 31744, i64 %small
  %number = select i1 %nan, i64 32256, i64 %finite
  %signed = or i64 %number, %sign
  %short = trunc i64 %signed to i16
  %half = bitcast i16 %short to half
  ret half %half
}
"""

symbols: dict[str, int] = native.load(TEXT, {})
