"""Elementary functions -> their largest errors, in units in the last place (ulp).

    python -m tracejit.tools.accuracy exp log        # some functions
    python -m tracejit.tools.accuracy --save docs/accuracy.json

float32, float16 and bfloat16: functions of one argument at every number that there is (or, with --every N, one of N evenly
spread ones), those of two at random pairs, against the float64 function. float64 and complex: random and hard arguments against
mpmath. Of a complex result the error is the distance from the true one, in units of its absolute value.
"""
from __future__ import annotations

import argparse
import inspect
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.ir.types import bfloat16

F16, F32, F64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
C64, C128 = np.dtype("complex64"), np.dtype("complex128")
BITS = {F16: (10, 15), bfloat16: (7, 127), F32: (23, 127), F64: (52, 1023)}   # of the mantissa, and the exponent's bias
CHUNK, PAIRS = 1 << 22, 1 << 24


def references() -> dict[str, Callable]:
    """Functions of tracejit.lax and what they mean, on numbers of mpmath."""
    return {
        "exp": mp.exp, "exp2": lambda x: mp.power(2, x), "expm1": mp.expm1, "log": mp.log, "log1p": mp.log1p,
        "logistic": lambda x: 1 / (1 + mp.exp(-x)), "sqrt": mp.sqrt, "rsqrt": lambda x: 1 / mp.sqrt(x),
        "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)), "sin": mp.sin, "cos": mp.cos, "tan": mp.tan,
        "asin": mp.asin, "acos": mp.acos, "atan": mp.atan, "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh,
        "asinh": mp.asinh, "acosh": mp.acosh, "atanh": mp.atanh, "erf": mp.erf, "erfc": mp.erfc, "erf_inv": mp.erfinv,
        "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x),
        "lgamma": lambda x: mp.re(mp.loggamma(x)), "digamma": mp.digamma,
        "bessel_i0e": lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), "bessel_i1e": lambda x: mp.besseli(1, x) * mp.exp(-abs(x)),
        "pow": mp.power, "atan2": mp.atan2,
    }


BETWEEN_POLES = ("lgamma", "digamma")   # they cross zero between poles below 0, where nearly all digits cancel


def n_arguments(name: str) -> int:
    return 2 if name in ("pow", "atan2") else 1


def function(name: str) -> Callable:
    return getattr(lax, name)


# --- against float64: every number of a narrower dtype ---------------------------------------------------------------

def ulp_errors(found: Any, want: Any, dtype: np.dtype) -> Any:
    """|found - want| in units in the last place of `want`, a float64; infinity counts as the power of two that follows."""
    mantissa, bias = BITS[dtype]
    found, top = found.astype(F64), 2.0 ** (bias + 1)
    exponent = lax.bitcast_convert_type(want, np.int64) >> 52 & 0x7FF
    exponent = jnp.clip(exponent, 1024 - bias, 1023 + bias) - mantissa
    unit = lax.bitcast_convert_type(exponent << 52, F64)
    error = jnp.abs(jnp.clip(found, -top, top) - jnp.clip(want, -top, top)) / unit
    agree = jnp.isnan(found) == jnp.isnan(want)
    return jnp.where(agree, jnp.where(jnp.isnan(want), 0.0, error), jnp.inf)


def numbers_from(first: Any, dtype: np.dtype, n: int, every: int) -> Any:
    """n numbers whose bits are `every` apart, from `first` on."""
    word = np.dtype(f"uint{8 * dtype.itemsize}")
    return lax.bitcast_convert_type((jnp.arange(n, dtype=np.uint32) * np.uint32(every) + first).astype(word), dtype)


def random_numbers(key: Any, dtype: np.dtype, n: int) -> Any:
    """Half of moderate size, half of any."""
    sizes, signs = tj.random.uniform(key, (2, n), F32, -1.0, 1.0)
    wide = jnp.where(jnp.arange(n) % 2 == 0, 4.0, float(BITS[dtype][1]))
    return (jnp.exp2(sizes * wide) * jnp.where(signs < 0, -1.0, 1.0)).astype(dtype)


def worst_narrow(name: str, dtype: np.dtype, every: int = 1) -> dict[str, Any]:
    """The largest error of a function over the numbers of a narrow dtype, or over many pairs."""
    f, pairs, every = function(name), n_arguments(name) == 2, every if dtype == F32 else 1
    count = PAIRS if pairs else (1 << 8 * dtype.itemsize) // every
    n = min(CHUNK, count)

    def errors(first: Any) -> tuple:
        if pairs:
            xs = [random_numbers(key, dtype, n) for key in tj.random.split(tj.random.key(first))]
        else:
            xs = [numbers_from(first, dtype, n, every)]
        return ulp_errors(f(*xs), f(*[x.astype(F64) for x in xs]), dtype), xs
    largest = tj.jit(lambda first: jnp.max(errors(first)[0]))
    starts = (np.arange(count // n) * (1 if pairs else n * every)).astype(np.uint32)
    found = [float(largest(np.asarray(first))) for first in starts]
    error, xs = tj.jit(errors)(np.asarray(starts[int(np.argmax(found))]))
    at = int(np.argmax(error))
    tested = f"{count} pairs" if pairs else "all" if every == 1 else f"1 of {every}"
    return {"ulp": max(found), "at": [str(x[at]) for x in xs], "tested": tested}


# --- against mpmath: random and hard arguments ----------------------------------------------------------------------

def hard_numbers(dtype: np.dtype) -> Iterator[float]:
    """Close to multiples of pi / 2, to one, to zeros of lgamma and digamma, to where results overflow or vanish."""
    info = np.finfo(dtype)
    yield from (k * np.pi / 2 for k in [*range(1, 40), 10**3, 10**5, 10**7, 10**10, 10**15])
    yield from (1 + sign * 2.0**-k for k in range(1, info.nmant + 1, 3) for sign in (1, -1))
    yield from (2.0**k for k in range(-60, 60, 7))
    yield from (1.4616321449683622, 2.0, -0.504083008264455, -2.4570247382208006, 709.78, 745.13, 88.72, 26.5, 5.9, 0.5)
    yield from (float(info.max), float(info.tiny), float(info.smallest_subnormal), 1e22)
    yield 6381956970095103 * 2.0**min(797, info.maxexp - 60)    # the double closest to a multiple of pi / 2


def arguments(dtype: np.dtype, n: int, rng: np.random.Generator) -> np.ndarray:
    """n random numbers of moderate size, n of any, and the hard ones with their neighbours."""
    info = np.finfo(dtype)
    hard = np.array(list(hard_numbers(dtype))).astype(dtype)
    hard = np.concatenate([hard, np.nextafter(hard, dtype.type(0)), -hard])
    small = rng.uniform(-4, 4, n // 2), rng.choice([-1, 1], n // 2) * np.exp2(rng.uniform(-30, 10, n // 2))
    large = rng.choice([-1, 1], n) * np.exp2(rng.uniform(info.minexp, info.maxexp - 1, n))
    return np.concatenate([*small, large, hard.astype(np.float64)]).astype(dtype)


def complex_arguments(dtype: np.dtype, n: int, rng: np.random.Generator) -> np.ndarray:
    """In the middle of the plane, next to the axes (on a cut the sign of zero decides, which mpmath lacks) and to branch points."""
    part = lambda: rng.choice([-1, 1], n) * np.exp2(rng.uniform(-20, 4, n))
    x, y = part(), part()
    near = 2.0 ** -rng.integers(1, 20, n)
    axes = [x[:n // 4] + 2.0**-80 * 1j, 2.0**-80 + 1j * y[:n // 4]]
    branches = [point + near[k::4] * np.exp(1j * x[k::4]) for k, point in enumerate((1, -1, 1j, -1j))]
    return np.concatenate([x + 1j * y, rng.uniform(-4, 4, n) + 1j * rng.uniform(-4, 4, n), *axes, *branches]).astype(dtype)


def true_value(reference: Callable, xs: Iterable) -> Any:
    """The function at numbers of a machine, by mpmath; None where it has no finite value or mpmath does not find it."""
    exact = lambda x: mp.mpc(float(x.real), float(x.imag)) if np.iscomplexobj(x) else mp.mpf(float(x))
    try:
        value = reference(*map(exact, xs))
    except (ValueError, ZeroDivisionError, OverflowError, ArithmeticError, mp.libmp.NoConvergence):
        return None
    return value if mp.isfinite(value) else None


def error_in_ulp(found: Any, want: Any, real: np.dtype, least: float = 0) -> float:
    """Of one number against the true value, in units of that or of `least`."""
    info, size = np.finfo(real), max(abs(want), least)
    if size >= mp.mpf(2) ** info.maxexp:
        return 0.0 if not np.isfinite(found) else np.inf
    exponent = max(int(mp.floor(mp.log(size, 2))), info.minexp) if size else info.minexp
    unit = mp.mpf(2) ** (exponent - info.nmant)
    if not np.isfinite(found):      # infinity stands for the power of two that it is rounded from
        rounds = not np.isnan(found) and size > mp.mpf(float(info.max))
        return float((mp.mpf(2) ** info.maxexp - size) / unit) if rounds else np.inf
    exact = mp.mpc(float(found.real), float(found.imag)) if np.iscomplexobj(found) else mp.mpf(float(found))
    return float(abs(exact - want) / unit)


def worst_wide(name: str, dtype: np.dtype, n: int) -> dict[str, Any]:
    """The largest error of a function over random and hard arguments."""
    rng, f, reference = np.random.default_rng(0), function(name), references()[name]
    make = complex_arguments if dtype.kind == "c" else arguments
    xs = [rng.permutation(make(dtype, n, rng)) for _ in range(n_arguments(name))]
    found = np.asarray(tj.jit(f)(*xs))
    real, worst, tried = np.finfo(dtype).dtype, (0.0, []), 0
    with mp.workprec(160):
        for i, got in enumerate(found):
            want = true_value(reference, [x[i] for x in xs])
            if want is None or dtype.kind != "c" and isinstance(want, mp.mpc):
                continue
            error = error_in_ulp(got, want, real, 1 if name in BETWEEN_POLES and xs[0][i] < 0 else 0)
            tried += 1
            worst = max(worst, (error, [str(x[i]) for x in xs]), key=lambda pair: pair[0])
    return {"ulp": worst[0], "at": worst[1], "tested": f"{tried} points"}


# --- the tool ----------------------------------------------------------------------------------------------------------

def takes(name: str, dtype: np.dtype) -> bool:
    try:
        tj.eval_shape(function(name), *[tj.ShapeDtypeStruct((), dtype)] * n_arguments(name))
    except (TypeError, tj.errors.TracejitError):
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)).split("\n")[0])
    parser.add_argument("functions", nargs="*")
    parser.add_argument("--dtypes", default="float64,float16,bfloat16,complex64,complex128,float32")
    parser.add_argument("--every", type=int, default=1, help="of so many float32 one")
    parser.add_argument("--points", type=int, default=1000, help="random arguments of each kind for float64 and complex")
    parser.add_argument("--save", type=Path, help="a JSON file whose entries are replaced by what is measured")
    given = parser.parse_args()
    stored = json.loads(given.save.read_text()) if given.save and given.save.exists() else {"functions": {}}
    for dtype in [bfloat16 if d == "bfloat16" else np.dtype(d) for d in given.dtypes.split(",")]:
        for name in given.functions or references():
            if not takes(name, dtype):
                continue
            start, narrow = time.monotonic(), dtype in (F16, F32, bfloat16)
            result = worst_narrow(name, dtype, given.every) if narrow else worst_wide(name, dtype, given.points)
            seconds = f"({time.monotonic() - start:.1f} s)"
            print(f"{name:12} {dtype.name:10} {result['ulp']:8.3f} ulp at {result['at']}   {seconds}", flush=True)
            stored["functions"].setdefault(name, {})[dtype.name] = result
            if given.save:
                given.save.write_text(json.dumps(stored | {"isa": host_isa().name}, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
