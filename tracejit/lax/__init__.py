"""The public face of lax: every primitive operation, by JAX's names.

Arrays must agree in dtype (Python scalars adopt it) and in shape (zero-dimensional operands repeat); the functions
of tracejit.numpy promote and broadcast, and are made of these.
"""

from tracejit.ir.trace import bind as bind
from tracejit.ir.types import dtype_of as dtype
from tracejit.absent import getter as _getter
from tracejit.lax.kinds import built_in as _built_in
from tracejit.lax.accuracy import AccuracyMode, Tolerance
from tracejit.lax.barrier import optimization_barrier
from tracejit.lax.bessel import bessel_i0e, bessel_i1e
from tracejit.lax.bits import (bitwise_and, bitwise_not, bitwise_or, bitwise_xor, clz, mulhi, population_count,
                               shift_left, shift_right_arithmetic, shift_right_logical)
from tracejit.lax.broadcast import (broadcast_in_dim, broadcasted_iota, empty, full, full_like, iota, reduce_sum,
                                    zeros_like_array)
from tracejit.lax.compare import eq, ge, gt, is_finite, le, lt, ne, select, select_n
from tracejit.lax.control import associative_scan, cond, fori_loop, map, scan, switch, while_loop
from tracejit.lax.conv import (conv, conv_general_dilated, conv_general_dilated_local, conv_general_dilated_patches,
                               conv_transpose, conv_with_general_padding)
from tracejit.lax.conv_dimensions import (ConvDimensionNumbers, ConvGeneralDilatedDimensionNumbers,
                                          conv_dimension_numbers, conv_general_permutations, conv_general_shape_tuple,
                                          conv_shape_tuple, conv_transpose_shape_tuple)
from tracejit.lax.convert import convert_element_type, stop_gradient, stop_gradient_p
from tracejit.lax.cumulative import cumlogsumexp, cummax, cummin, cumprod, cumsum
from tracejit.lax.dot import (DotAlgorithm, DotAlgorithmPreset, DotDimensionNumbers, Precision, PrecisionLike, batch_matmul, dot,
                              dot_general)
from tracejit.lax.dynamic import (dynamic_index_in_dim, dynamic_slice, dynamic_slice_in_dim,
                                  dynamic_update_index_in_dim, dynamic_update_slice, dynamic_update_slice_in_dim)
from tracejit.lax.elementary import (acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, exp, exp2, expm1, log1p,
                                     logistic, sin, sinh, tan, tanh)
from tracejit.lax.elementwise import (RoundingMethod, abs, add, cbrt, ceil, clamp, complex, conj, div, floor, imag,
                                      integer_pow, log, max, min, mul, neg, nextafter, pow, real, reciprocal, rem,
                                      round, rsqrt, sign, sqrt, square, sub)
from tracejit.lax.fft import FftType, fft
from tracejit.lax.implicit import custom_linear_solve, custom_root
from tracejit.lax.incomplete import igamma, igamma_grad_a, igammac, random_gamma_grad
from tracejit.lax.incomplete_beta import betainc
from tracejit.lax.index import (GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers, gather, index_take,
                                scatter, scatter_add, scatter_apply, scatter_max, scatter_min, scatter_mul, scatter_sub)
from tracejit.lax.padding import PaddingType, padtype_to_pads
from tracejit.lax.parallel import (all_gather, all_to_all, axis_index, axis_size, pbroadcast, pmax, pmean, pmin, ppermute,
                                   pshuffle, psum, psum_scatter, pswapaxes, pvary)
from tracejit.lax.random import RandomAlgorithm, rng_bit_generator
from tracejit.lax.ragged import (RaggedDotDimensionNumbers, ragged_all_to_all, ragged_dot, ragged_dot_general,
                                 scaled_dot)
from tracejit.lax.reduce import (argmax, argmin, reduce, reduce_and, reduce_max, reduce_min, reduce_or, reduce_prod,
                                 reduce_xor)
from tracejit.lax.reinterpret import bitcast_convert_type, reduce_precision
from tracejit.lax.shape import (broadcast, broadcast_like, broadcast_shapes, broadcast_to_rank, collapse, concatenate,
                                expand_dims, index_in_dim, pad, reshape, rev, shape_as_value, slice, slice_in_dim,
                                split, squeeze, stack, tile, transpose, unstack)
from tracejit.lax.sort import approx_max_k, approx_min_k, sort, sort_key_val, top_k
from tracejit.lax.special import digamma, erf, erf_inv, erfc, erfcx, lgamma, polygamma, zeta
from tracejit.lax.staging import (after_all, composite, create_token, dce_sink, pcast, platform_dependent, rng_uniform,
                                  stage, with_sharding_constraint)
from tracejit.lax.window import reduce_window, reduce_window_shape_tuple
from tracejit.lax import linalg as linalg  # isort: skip

_absent = _getter(__name__)


def __getattr__(name: str):
    """`lax.sin_p`: the ops of a name, as programs that walk over equations compare them and `bind` them."""
    found = _built_in(name.removesuffix("_p")) if name.endswith("_p") else None
    return _absent(name) if found is None else found
