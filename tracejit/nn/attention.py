"""Scaled dot-product attention: queries, keys and values -> weighted means of the values."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax

from .normalize import logsumexp, softmax

IMPLEMENTATIONS = (None, "xla", "cudnn")
LEAST_QUERIES, MOST_PARTS = 128, 8      # of the queries, each with the keys that the last of them sees


def dot_product_attention(query, key, value, bias=None, mask=None, *, scale=None, is_causal: bool = False,
                          query_seq_lengths=None, key_value_seq_lengths=None, local_window_size=None,
                          implementation=None, return_residual: bool = False):
    """softmax(scale query key^T + bias) value, for each batch and head.

    Vaswani et al., "Attention is all you need" (2017). Letters: B batch, T query length, S key length, N query heads, K
    key and value heads (N is a multiple of K: several query heads share one), H head size.

    Args:
      query: ``[B, T, N, H]``; key, value: ``[B, S, K, H]``. The batch axis may be absent from all three.
      bias, mask: broadcastable to ``[B, N, T, S]``; the mask is boolean and keeps where it is True.
      scale: factor of the products (default ``1 / sqrt(H)``).
      is_causal: let a query see keys up to its own position only.
      query_seq_lengths, key_value_seq_lengths: int32 ``[B]``; the rest of each sequence is padding.
      local_window_size: how far a query sees, one number or (to the left, to the right).
      implementation: accepted as in JAX; there is one implementation.
      return_residual: return also the log-sum-exp of the scores, ``[B, T, N]``.

    Returns an array of query's shape. Scores are summed in float32 at least.

    >>> import tracejit.numpy as jnp
    >>> x = jnp.ones((2, 5, 3, 4))
    >>> dot_product_attention(x, x, x, is_causal=True).shape
    (2, 5, 3, 4)
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"dot_product_attention: implementation must be one of {IMPLEMENTATIONS}, got "
                         f"{implementation!r}")
    shape = np.shape(query)
    query, key, value = (with_batch(x) for x in (query, key, value))
    bias, mask = (None if x is None else with_batch(x) for x in (bias, mask))
    lengths = [None if x is None else jnp.asarray(x) for x in (query_seq_lengths, key_value_seq_lengths)]
    check_arguments(query, key, value, bias, mask, lengths)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # A row that sees nothing has equal weights for all keys, so only keys that each row surely does without are left out.
    is_only_causal = is_causal and all(x is None for x in (bias, mask, *lengths, local_window_size))

    def attend(start: int, stop: int):
        """The result for some queries, and the log-sum-exp of their scores."""
        seen = min(stop, key.shape[1]) if is_only_causal else key.shape[1]
        conditions = visible(start, stop, seen, is_causal, local_window_size, *lengths)
        scores = masked_scores(query[:, start:stop], key[:, :seen], bias, mask, scale, conditions)
        out = weighted_values(scores, value[:, :seen], query[:, start:stop].shape)
        residual = logsumexp(scores, axis=-1).reshape(query.shape[0], query.shape[2], stop - start)
        return out, jnp.moveaxis(residual, 1, 2)
    edges = parts_of(query.shape[1]) if is_only_causal else [0, query.shape[1]]
    out, residual = (jnp.concatenate(x, 1) for x in zip(*map(attend, edges, edges[1:])))
    if lengths[0] is not None:
        out = jnp.where(within(lengths[0], 0, query.shape[1])[:, :, None, None], out, 0).astype(out.dtype)
    if not return_residual:
        return out.reshape(shape)
    return out.reshape(shape), lax.stop_gradient(residual.astype(key.dtype)).reshape(shape[:-1])


def parts_of(length: int) -> list[int]:
    """Where the parts of the queries begin, and where the last one ends: as equal as can be."""
    count = max(1, min(MOST_PARTS, length // LEAST_QUERIES))
    return [length * i // count for i in range(count + 1)]


def with_batch(x):
    x = jnp.asarray(x)
    return x.reshape((1,) * (4 - x.ndim) + x.shape)


def check_arguments(query, key, value, bias, mask, lengths) -> None:
    batch, _, heads, size = key.shape
    expect("value", value, key.shape, key.dtype)
    expect("query", query, (batch, None, None, size), key.dtype)
    expect("mask", mask, (None,) * 4, np.dtype(bool))
    expect("bias", bias, (None,) * 4, None)
    for name, length in zip(("query_seq_lengths", "key_value_seq_lengths"), lengths):
        expect(name, length, (batch,), np.dtype("int32"))
    if query.shape[2] % heads:
        raise ValueError(f"dot_product_attention: {query.shape[2]} query heads, which must be a multiple of {heads} key/value "
                         "heads")


def expect(name: str, x, shape, dtype) -> None:
    if x is None:
        return
    wrong = x.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, x.shape))
    if wrong or dtype not in (None, x.dtype):
        raise ValueError(f"dot_product_attention: {name} must be {dtype or 'any dtype'} of shape {shape}, got "
                         f"{x.dtype} of shape {x.shape}")


def within(lengths, start: int, stop: int):
    return jnp.arange(start, stop) < lengths[:, None]


def visible(start: int, stop: int, n_keys: int, is_causal, window, query_lengths, key_lengths) -> list:
    """The conditions under which queries from start to stop see one of the first keys, each broadcastable to [B, N, T, S]."""
    q, k = jnp.arange(start, stop)[:, None], jnp.arange(n_keys)
    conditions = [q >= k] if is_causal else []
    if window is not None:
        left, right = (window, window) if isinstance(window, int) else window
        conditions += [q <= k + left, q >= k - right]
    if query_lengths is not None:
        conditions.append(within(query_lengths, start, stop)[:, None, :, None])
    if key_lengths is not None:
        conditions.append(within(key_lengths, 0, n_keys)[:, None, None, :])
    return conditions


def masked_scores(query, key, bias, mask, scale, conditions):
    """Scores [B, K, G, T, S] with heads as (key head, member of its group)."""
    batch, length, heads, size = query.shape
    groups = heads // key.shape[2]
    grouped = query.reshape(batch, length, key.shape[2], groups, size)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, preferred_element_type=wide) * jnp.asarray(scale, wide)
    if bias is not None:
        scores = (scores + by_group(bias, groups)).astype(wide)
    if mask is not None:
        conditions = [*conditions, mask]
    if not conditions:
        return scores
    seen = conditions[0]
    for condition in conditions[1:]:
        seen = seen & condition
    # A large number rather than -inf: a row that sees nothing gets equal weights, not nan.
    lowest = -0.7 * float(jnp.finfo(jnp.float32).max)
    return jnp.where(by_group(jnp.broadcast_to(seen, (1,) * (4 - seen.ndim) + seen.shape), groups), scores, lowest)


def by_group(x, groups: int):
    """[B, N or 1, T, S] as [B, K or 1, G or 1, T, S]."""
    batch, heads, *lengths = x.shape
    return x[:, :, None] if heads == 1 else x.reshape(batch, heads // groups, groups, *lengths)


def weighted_values(scores, value, shape):
    weights = softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bkgts,bskh->btkgh", weights, value).reshape(shape)
