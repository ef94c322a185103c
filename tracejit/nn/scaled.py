"""Matrix products of block-scaled operands."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax


def scaled_matmul(lhs, rhs, lhs_scales, rhs_scales, preferred_element_type=np.float32):
    """``(lhs * scales) @ (rhs * scales)^T`` where each scale applies to a block along the contracted axis.

    Shapes: lhs ``[B, M, K]``, rhs ``[B, N, K]``, scales ``[B, M, K / block]`` and ``[B, N, K / block]``; the result is
    ``[B, M, N]`` of ``preferred_element_type``.

    >>> import tracejit.numpy as jnp
    >>> x = jnp.ones((1, 2, 4))
    >>> print(scaled_matmul(x, x, jnp.full((1, 2, 2), 3.), jnp.ones((1, 2, 2)))[0])
    [[12. 12.]
     [12. 12.]]
    """
    arrays = [jnp.asarray(x) for x in (lhs, rhs, lhs_scales, rhs_scales)]
    shapes = [x.shape for x in arrays]
    if any(x.ndim != 3 for x in arrays):
        raise ValueError(f"scaled_matmul takes four arrays of 3 axes, got shapes {shapes}")
    (batch, rows, inner), (batch2, columns, inner2), left, right = shapes
    blocks = left[2]
    if (batch, inner) != (batch2, inner2) or left != (batch, rows, blocks) or right != (batch, columns, blocks):
        raise ValueError(f"scaled_matmul: shapes [B, M, K], [B, N, K], [B, M, k], [B, N, k] do not fit: got {shapes}")
    if inner % blocks:
        raise ValueError(f"scaled_matmul: {blocks} scales do not divide the contracted axis of size {inner}")
    a, b = (unscaled(x, s, preferred_element_type) for x, s in (arrays[::2], arrays[1::2]))
    return jnp.einsum("bmk,bnk->bmn", a, b, preferred_element_type=preferred_element_type)


def unscaled(x, scales, dtype):
    return x.astype(dtype) * jnp.repeat(scales.astype(dtype), x.shape[-1] // scales.shape[-1], axis=-1)


def scaled_dot_general(lhs, rhs, dimension_numbers, preferred_element_type=np.float32, configs=None,
                       implementation=None):
    """`lax.dot_general` with a result dtype; quantisation ``configs`` need 8- and 4-bit floats and are refused.

    >>> import tracejit.numpy as jnp
    >>> scaled_dot_general(jnp.ones((2, 3)), jnp.ones((3, 4)), (((1,), (0,)), ((), ()))).shape
    (2, 4)
    """
    if configs is not None:
        raise NotImplementedError("scaled_dot_general: there are no 8- and 4-bit floating-point dtypes to quantise to; "
                                  "pass configs=None")
    return lax.dot_general(lhs, rhs, dimension_numbers, preferred_element_type=preferred_element_type)
