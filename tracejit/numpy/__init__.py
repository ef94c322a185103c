"""jax.numpy's names: functions of arrays that follow NumPy, with JAX's dtype promotion and immutable arrays.

    import tracejit.numpy as jnp
    jnp.sum(jnp.arange(3.0) ** 2)
"""
# ruff: noqa: F401  (imported names are public here)
from __future__ import annotations

from typing import Any

from tracejit.runtime.array import Array as ndarray
from tracejit.numpy.constants import e, euler_gamma, inf, nan, newaxis, pi
from tracejit.numpy.dtypes import (
    ComplexWarning, astype, bfloat16, bool_, can_cast, cdouble, character, complex128, complex64,
    complexfloating, csingle, double, dtype, finfo, flexible, float16, float32, float4_e2m1fn, float64,
    float6_e2m3fn, float6_e3m2fn, float8_e3m4, float8_e4m3, float8_e4m3b11fnuz, float8_e4m3fn, float8_e4m3fnuz,
    float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu, floating, generic, iinfo, inexact, int1, int16, int2, int32,
    int4, int64, int8, integer, isdtype, issubdtype, number, object_, promote_types, result_type, signedinteger,
    single, uint1, uint16, uint2, uint32, uint4, uint64, uint8, unsignedinteger,
)
from tracejit.numpy.creation import (
    arange, array, asarray, copy, empty, empty_like, eye, from_dlpack, frombuffer, fromfile, fromfunction,
    fromiter, fromstring, full, full_like, geomspace, identity, indices, linspace, logspace, meshgrid, ones,
    ones_like, tri, zeros, zeros_like,
)
from tracejit.numpy.arithmetic import (
    abs, absolute, add, divide, divmod, fabs, float_power, floor_divide, fmax, fmin, fmod, gcd, lcm, maximum,
    minimum, mod, multiply, negative, positive, pow, power, reciprocal, remainder, sign, square, subtract,
    true_divide,
)
from tracejit.numpy.transcendental import (
    acos, acosh, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, asin, asinh, atan, atan2, atanh,
    cbrt, cos, cosh, deg2rad, degrees, exp, exp2, expm1, heaviside, hypot, i0, log, log10, log1p, log2,
    logaddexp, logaddexp2, rad2deg, radians, sin, sinc, sinh, sqrt, tan, tanh,
)
from tracejit.numpy.rounding import (
    around, ceil, copysign, floor, frexp, ldexp, modf, nextafter, rint, round, signbit, spacing, trunc,
)
from tracejit.numpy.complexes import angle, conj, conjugate, imag, iscomplex, iscomplexobj, isreal, isrealobj, real
from tracejit.numpy.logic import (
    allclose, array_equal, array_equiv, bitwise_and, bitwise_count, bitwise_invert, bitwise_left_shift,
    bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor, equal, greater, greater_equal, invert, isclose,
    isfinite, isinf, isnan, isneginf, isposinf, left_shift, less, less_equal, logical_and, logical_not,
    logical_or, logical_xor, not_equal, right_shift,
)
from tracejit.numpy.reductions import (
    all, amax, amin, any, argmax, argmin, average, count_nonzero, max, mean, min, prod, ptp, std, sum, var,
)
from tracejit.numpy.nanreductions import nanargmax, nanargmin, nanmax, nanmean, nanmin, nanprod, nanstd, nansum, nanvar
from tracejit.numpy.cumulative import (
    cumprod, cumsum, cumulative_prod, cumulative_sum, diff, ediff1d, nancumprod, nancumsum,
)
from tracejit.numpy.selection import (
    argwhere, choose, clip, compress, extract, flatnonzero, nan_to_num, nonzero, piecewise, select, where,
)
from tracejit.numpy.taking import (
    diag_indices, diag_indices_from, fill_diagonal, mask_indices, place, put, put_along_axis, ravel_multi_index,
    take, take_along_axis, tril_indices, tril_indices_from, triu_indices, triu_indices_from, unravel_index,
)
from tracejit.numpy.manipulation import (
    atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, broadcast_shapes, broadcast_to, expand_dims, flip,
    fliplr, flipud, matrix_transpose, moveaxis, ndim, permute_dims, ravel, reshape, roll, rollaxis, rot90,
    shape, size, squeeze, swapaxes, transpose,
)
from tracejit.numpy.joining import (
    append, array_split, block, column_stack, concat, concatenate, dsplit, dstack, hsplit, hstack, repeat,
    resize, split, stack, tile, unstack, vsplit, vstack,
)
from tracejit.numpy.padding import delete, insert, pad
from tracejit.numpy.linear import (
    cross, diag, diagflat, diagonal, dot, inner, kron, matmul, matvec, outer, tensordot, trace, tril, triu,
    vander, vdot, vecdot, vecmat,
)
from tracejit.numpy.einsum import einsum, einsum_path
from tracejit.numpy.sorting import (
    argpartition, argsort, digitize, lexsort, partition, searchsorted, sort, sort_complex, trim_zeros,
)
from tracejit.numpy.sets import (
    intersect1d, isin, setdiff1d, setxor1d, union1d, unique, unique_all, unique_counts, unique_inverse,
    unique_values,
)
from tracejit.numpy.statistics import bincount, corrcoef, cov, histogram, histogram2d, histogram_bin_edges, histogramdd
from tracejit.numpy.quantiles import median, nanmedian, nanpercentile, nanquantile, percentile, quantile
from tracejit.numpy.numerics import gradient, interp, trapezoid, unwrap
from tracejit.numpy.polynomial import (
    poly, polyadd, polyder, polydiv, polyfit, polyint, polymul, polysub, polyval, roots,
)
from tracejit.numpy.windows import bartlett, blackman, hamming, hanning, kaiser
from tracejit.numpy.convolution import convolve, correlate
from tracejit.numpy.bits import packbits, unpackbits
from tracejit.numpy.apply import apply_along_axis, apply_over_axes, frompyfunc, vectorize
from tracejit.numpy.index_tricks import c_, index_exp, ix_, mgrid, ogrid, r_, s_
from tracejit.numpy.ufuncs import ufunc
from tracejit.numpy.text import (
    array_repr, array_str, get_printoptions, isscalar, iterable, printoptions, set_printoptions,
)
from tracejit.numpy.files import load, save, savez
from tracejit.numpy import fft as fft
from tracejit.numpy import linalg as linalg
from tracejit.numpy.array_api import __array_api_version__ as __array_api_version__
from tracejit.numpy.array_api import __array_namespace_info__ as __array_namespace_info__
from tracejit.numpy import dtypes as _dtypes
from tracejit.numpy import operators as _operators
from tracejit.numpy.dtypes import bool_ as bool
from tracejit.numpy.promotion import Var as _Var
from tracejit.runtime.array import ArrayImpl as _ArrayImpl

_operators.install(_ArrayImpl)
_operators.install(_Var)

_DEFAULT_TYPES = {"int_": "i", "uint": "u", "float_": "f", "complex_": "c"}


def __getattr__(name: str) -> Any:
    if name in _DEFAULT_TYPES:  # as wide as the x64 setting says at this moment
        return _dtypes.default_scalar_type(_DEFAULT_TYPES[name])
    raise AttributeError(f"module 'tracejit.numpy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_DEFAULT_TYPES})
