"""Discrete Fourier transforms over the last axes: complex, and real to or from half of a symmetric spectrum."""
from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, complex_dtype, is_complex, real_dtype, type_of
from tracejit.lax.broadcast import broadcast_in_dim, full, iota
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import conj, mul, real, rem
from tracejit.lax.fourier import SIDE_BY_SIDE, Sequences, Transform, work_length
from tracejit.lax.kinds import Opaque, op_dataclass
from tracejit.lax.long_fourier import Dense, copy_half, fills_squares, long_transform, mirror, mix_halves
from tracejit.lax.shape import pad, transpose
from tracejit.lax.shares import MOST_SHARES, Shares, WithinLane

MANY_ROWS, MOST_APART = 16, 1 << 15    # so many rows of so many numbers are shared out, each to one thread


def aligned(nbytes: int) -> int:
    return -(-nbytes // 64) * 64


class FftType(enum.IntEnum):
    """Which transform: complex, inverse complex, real to half spectrum, half spectrum to real."""
    FFT = 0
    IFFT = 1
    RFFT = 2
    IRFFT = 3


@op_dataclass
class Fft(Opaque):
    """out[k] = sum over n of x[n] exp(-2 pi i n k / N) over the last axes; inverses have +, and divide by N."""
    makes_nan: ClassVar[bool] = True
    kind: str
    lengths: tuple[int, ...]
    linear: ClassVar[bool] = True
    dispatches: ClassVar[bool] = True
    ulp: ClassVar[float] = 64

    def infer(self, x):
        n, expected = len(self.lengths), list(self.lengths)
        if self.kind == "IRFFT":
            expected[-1] = expected[-1] // 2 + 1
        if not n or x.ndim < n or list(x.shape[x.ndim - n:]) != expected:
            raise ShapeError(f"fft: {self.kind} of lengths {self.lengths} needs the last axes to be {tuple(expected)}, "
                             f"not those of {x}",
                             fix="pad or cut the array, or use jnp.fft, which does")
        if is_complex(x.dtype) == (self.kind == "RFFT") or x.dtype.itemsize < 4 or x.dtype.kind not in "fc":
            numbers = "real" if self.kind == "RFFT" else "complex"
            raise DtypeError(f"fft: {self.kind} of {x}: it is for {numbers} numbers of 32 or 64 bits per part")
        last = {"RFFT": self.lengths[-1] // 2 + 1}.get(self.kind, self.lengths[-1])
        dtype = real_dtype(x.dtype) if self.kind == "IRFFT" else complex_dtype(x.dtype)
        return ArrayType((*x.shape[:-1], last), dtype)

    def eval(self, x):
        axes = tuple(range(x.ndim - len(self.lengths), x.ndim))
        out = self.infer(type_of(x))
        if not out.size:
            return np.zeros(out.shape, out.dtype)
        transform = {"FFT": np.fft.fftn, "IFFT": np.fft.ifftn, "RFFT": np.fft.rfftn, "IRFFT": np.fft.irfftn}[self.kind]
        return transform(x, self.lengths, axes).astype(out.dtype)

    def transpose(self, ctx, ct, x):
        """Complex transforms are symmetric matrices; of the real ones, the half spectrum stands for its mirror too."""
        if self.kind == "RFFT":
            return (self.rfft_cotangent(ct),)
        return (self.irfft_cotangent(ct) if self.kind == "IRFFT" else bind(self, ct),)

    def rfft_cotangent(self, ct):
        t = type_of(ct)
        missing = [(0, 0, 0)] * (t.ndim - 1) + [(0, self.lengths[-1] - t.shape[-1], 0)]
        return real(bind(Fft("FFT", self.lengths), pad(ct, np.zeros((), t.dtype), missing)))

    def irfft_cotangent(self, ct):
        n, ndim = self.lengths[-1], type_of(ct).ndim
        half = conj(bind(Fft("RFFT", (n,)), ct))
        dtype, count = type_of(half).dtype, n // 2 + 1
        alone = eq(rem(mul(iota(np.int32, count), 2), n), 0)  # frequencies 0 and n / 2, which have no mirror
        weight = select(alone, full((count,), 1 / n, dtype), full((count,), 2 / n, dtype))
        half = mul(half, broadcast_in_dim(weight, type_of(half).shape, (ndim - 1,)))
        if len(self.lengths) == 1:
            return half
        order = [*range(ndim - len(self.lengths)), ndim - 1, *range(ndim - len(self.lengths), ndim - 1)]
        back = bind(Fft("IFFT", self.lengths[:-1]), transpose(half, order))
        return transpose(back, np.argsort(order))

    def batch(self, ctx, args, batched): return bind(self, *args), True

    # --- native code: one step per axis

    def steps(self, x: ArrayType) -> list[Step]:
        """The last axis first where it makes a half spectrum, last where it takes one; each after the one before."""
        out, k = self.infer(x), x.ndim - len(self.lengths)
        half = x if self.kind == "IRFFT" else out
        sign = 1 if self.kind in ("IFFT", "IRFFT") else -1
        plain = [Step(half.shape, a, n, sign, "whole") for a, n in enumerate(self.lengths, k)]
        if self.kind == "RFFT":
            return [Step(out.shape, x.ndim - 1, self.lengths[-1], sign, "to half"), *plain[:-1]]
        if self.kind == "IRFFT":
            return [*plain[:-1], Step(out.shape, x.ndim - 1, self.lengths[-1], sign, "from half")]
        return plain

    def scratch_bytes(self, types):
        (x,), part = types, real_dtype(types[0].dtype)
        if not x.size:
            return 0
        most = max(step.scratch_bytes(part) for step in self.steps(x))
        return most + (x.nbytes if self.kind == "IRFFT" and len(self.lengths) > 1 else 0)

    def call(self, b, ins, outs, types):
        (x,), part = types, real_dtype(types[0].dtype)
        if not x.size or not self.infer(x).size:
            return
        steps = self.steps(x)
        source, between = ins[0], outs[0]
        if self.kind == "IRFFT":  # the half spectrum is larger than the result
            between = b.scratch(max(step.scratch_bytes(part) for step in steps))
        for step in steps[:-1]:
            step.emit(b, source, between, part)
            source = between
        steps[-1].emit(b, source, outs[0], part)


@dataclass(frozen=True)
class Step:
    """Transforms of length n along one axis of an array with this shape on its spectrum's side."""
    shape: tuple[int, ...]
    axis: int
    n: int
    sign: int
    form: str           # "whole", "to half" spectrum, "from half" spectrum

    @property
    def length(self) -> int:
        """Of the complex transform: half as long for an even number of real numbers."""
        return self.n // 2 if self.form != "whole" and self.n % 2 == 0 else self.n

    def sequences(self, part: np.dtype) -> Sequences:
        outer, inner = math.prod(self.shape[:self.axis]), math.prod(self.shape[self.axis + 1:])
        return Sequences.of(outer, inner, self.length, 64 // part.itemsize)

    def shares(self, part: np.dtype) -> Shares:
        where = self.sequences(part)
        return Shares.of(where.n_groups, [(2 * work_length(self.length) * where.group, part)] * 3)

    def is_long(self, part: np.dtype) -> bool:
        """Done as one transform in two steps, not side by side with others."""
        fits = self.length > SIDE_BY_SIDE or fills_squares(self.length, part)
        return fits and math.prod(self.shape[self.axis + 1:]) == 1

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:self.axis])

    @property
    def by_rows(self) -> bool:
        """Each by one thread, as there are many and they fit its cache, or as it is short; else by all, one after the other."""
        return self.length <= (MOST_APART if self.rows >= MANY_ROWS else SIDE_BY_SIDE)

    def row_shares(self, part: np.dtype) -> Shares:
        return Shares.of(self.rows, [(self.long_bytes(part), np.dtype(np.uint8))], min(MOST_SHARES, self.rows // 4))

    def long_bytes(self, part: np.dtype) -> int:
        own = aligned(long_transform(self.length, self.sign, part, self.by_rows).scratch_bytes)
        return own + (0 if self.form == "whole" else aligned(2 * self.length * part.itemsize))

    def scratch_bytes(self, part: np.dtype) -> int:
        """64-byte aligned: what follows begins there."""
        if not self.is_long(part):
            return self.shares(part).nbytes
        return self.row_shares(part).nbytes if self.by_rows else self.long_bytes(part)

    def emit(self, b: Any, source: Any, target: Any, part: np.dtype) -> None:
        if not self.is_long(part):
            return self.emit_lanes(b, source, target, part)
        half, full = self.n // 2 + 1, complex_dtype(part)
        read, written = (half if self.form == f"{way} half" else self.n for way in ("from", "to"))
        dtypes = [part if self.form == f"{way} half" else full for way in ("to", "from")]
        if self.by_rows:
            steps = [read * dtypes[0].itemsize, written * dtypes[1].itemsize]
            one = lambda f, pointers, areas: self.emit_long(WithinLane(f, *areas), *pointers, part)
            return self.row_shares(part).run(b, [source, target], one, steps)
        with b.loop(0, self.rows) as row:
            self.emit_long(b, b.gep(source, b.mul(row.index, read), dtypes[0]),
                           b.gep(target, b.mul(row.index, written), dtypes[1]), part)

    def emit_long(self, b: Any, source: Any, target: Any, part: np.dtype) -> None:
        n, h, even, full = self.n, self.length, self.length != self.n, complex_dtype(part)
        long = long_transform(h, self.sign, part, self.by_rows)
        scale = 1 / n if self.sign > 0 else 1.0
        between = Dense(b.scratch(aligned(long.scratch_bytes)), full)
        if self.form == "whole":
            long.emit(b, Dense(source, full), Dense(target, full, scale))
        elif self.form == "to half":
            long.emit(b, Dense(source, full if even else part), between)
            if even:
                mix_halves(b, h, between, Dense(target, full), part, True)
            else:
                copy_half(b, n, between, Dense(target, full))
        else:
            if even:
                mix_halves(b, h, Dense(source, full), between, part, False)
            else:
                mirror(b, n, Dense(source, full), between)
            long.emit(b, between, Dense(target, full if even else part, scale))

    def emit_lanes(self, b: Any, source: Any, target: Any, part: np.dtype) -> None:
        where, half, full = self.sequences(part), self.n // 2 + 1, complex_dtype(part)
        scale = 1 / self.n if self.sign > 0 else 1.0
        even = self.length != self.n

        def lane(f: Any, pointers: list, areas: list) -> None:
            source, target = pointers
            work = Transform(f, self.length, where.group, self.sign, part, areas)

            def move(array: Any, dtype: np.dtype, count: int, length: int, load: bool) -> None:
                where.move(f, work.front, array, dtype, count, length, load, 1.0 if load else scale)
            if self.form == "whole":
                move(source, full, self.n, self.n, True)
                work.run()
                move(target, full, self.n, self.n, False)
            elif self.form == "to half":
                move(source, full if even else part, self.length, self.length, True)
                work.run()
                if even:
                    work.halves(True)
                move(target, full, half, half, False)
            else:
                move(source, full, half, half, True)
                work.halves(False) if even else work.mirrored()
                work.run()
                move(target, full if even else part, self.length, self.length, False)
        self.shares(part).run(b, [source, target], lane)


def fft(x: Any, fft_type: FftType | str, fft_lengths: Sequence[int]):
    """Discrete Fourier transform over the last `len(fft_lengths)` axes, whose sizes are `fft_lengths`.

    `fft_type` is FFT or IFFT (complex to complex), RFFT (real to the first n // 2 + 1 frequencies of the last axis) or
    IRFFT (those back to n real numbers). Inverses divide by the number of elements. Raises ShapeError where the axes do
    not fit and DtypeError for an RFFT of complex numbers.

    >>> import numpy as np
    >>> np.asarray(fft(np.float64([1, 0, 0, 0]), "RFFT", (4,)))
    array([1.+0.j, 1.+0.j, 1.+0.j])
    """
    if isinstance(fft_type, str):
        name = fft_type.upper()
        if name not in FftType.__members__:
            raise ValueError(f"fft: unknown transform {fft_type!r}; choose from {', '.join(FftType.__members__)}")
    else:
        name = FftType(fft_type).name
    dtype = type_of(x).dtype
    if name != "RFFT" and not is_complex(dtype):
        x = convert_element_type(x, complex_dtype(dtype))
    elif name == "RFFT" and dtype.kind != "c" and (dtype.kind != "f" or dtype.itemsize < 4):
        x = convert_element_type(x, np.float32)
    return bind(Fft(name, tuple(int(n) for n in fft_lengths)), x)


__all__ = ["FftType", "fft"]
