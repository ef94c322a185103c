"""Reductions over segments: rows of an array and the number of each row's segment -> one row per segment."""
from __future__ import annotations

import math
import operator

import numpy as np

import tracejit.numpy as jnp
from tracejit.numpy.promotion import concrete

REDUCERS = {"add": jnp.sum, "mul": jnp.prod, "min": jnp.min, "max": jnp.max}


def segment_sum(data, segment_ids, num_segments=None, indices_are_sorted=False, unique_indices=False, bucket_size=None,
                mode=None, out_sharding=None):
    """Sums of the rows of ``data`` that share a number in ``segment_ids``: shape ``[num_segments, *data.shape[1:]]``.

    Args:
      segment_ids: integers, one per row; rows with numbers out of range are dropped (negative ones too).
      num_segments: how many segments (default: the largest number plus 1, which must then be known while tracing).
      indices_are_sorted, unique_indices: promises that may save work.
      bucket_size: reduce blocks of so many rows first, which rounds better for long sums.
      mode: what to do with numbers out of range, as in ``x.at[...]``.

    >>> import tracejit.numpy as jnp
    >>> print(segment_sum(jnp.array([1, 2, 3, 4]), jnp.array([0, 0, 1, 1])))
    [3 7]
    """
    return reduced("add", data, segment_ids, num_segments, indices_are_sorted, unique_indices, bucket_size, mode)


def segment_prod(data, segment_ids, num_segments=None, indices_are_sorted=False, unique_indices=False, bucket_size=None,
                 mode=None, out_sharding=None):
    """Products of the rows of each segment, 1 where there are none; arguments as for `segment_sum`.

    >>> import tracejit.numpy as jnp
    >>> print(segment_prod(jnp.array([1, 2, 3, 4]), jnp.array([0, 0, 1, 1])))
    [ 2 12]
    """
    return reduced("mul", data, segment_ids, num_segments, indices_are_sorted, unique_indices, bucket_size, mode)


def segment_max(data, segment_ids, num_segments=None, indices_are_sorted=False, unique_indices=False, bucket_size=None,
                mode=None, out_sharding=None):
    """Largest entries of the rows of each segment, the dtype's lowest value where there are none; see `segment_sum`.

    >>> import tracejit.numpy as jnp
    >>> print(segment_max(jnp.array([1, 2, 3, 4]), jnp.array([0, 0, 1, 1])))
    [2 4]
    """
    return reduced("max", data, segment_ids, num_segments, indices_are_sorted, unique_indices, bucket_size, mode)


def segment_min(data, segment_ids, num_segments=None, indices_are_sorted=False, unique_indices=False, bucket_size=None,
                mode=None, out_sharding=None):
    """Smallest entries of the rows of each segment, the dtype's highest value where there are none; see `segment_sum`.

    >>> import tracejit.numpy as jnp
    >>> print(segment_min(jnp.array([1, 2, 3, 4]), jnp.array([0, 0, 1, 1])))
    [1 3]
    """
    return reduced("min", data, segment_ids, num_segments, indices_are_sorted, unique_indices, bucket_size, mode)


def neutral(update: str, dtype):
    """What an update with leaves the other value as it is."""
    if update in ("add", "mul"):
        return {"add": 0, "mul": 1}[update]
    if jnp.issubdtype(dtype, np.bool_):
        return update == "min"
    if jnp.issubdtype(dtype, np.integer):
        return int(jnp.iinfo(dtype).max if update == "min" else jnp.iinfo(dtype).min)
    return math.inf if update == "min" else -math.inf


def reduced(update, data, segment_ids, num_segments, is_sorted, unique, bucket_size, mode):
    data, segment_ids = jnp.asarray(data), jnp.asarray(segment_ids)
    if num_segments is None:
        known = concrete(segment_ids, "a segment reduction without num_segments", "give num_segments")
        num_segments = int(np.max(known, initial=-1)) + 1
    num_segments = operator.index(num_segments)
    if num_segments < 0:
        raise ValueError(f"segment reductions take num_segments >= 0, got {num_segments}")
    buckets = () if bucket_size is None else (-(-segment_ids.size // bucket_size),)
    start = jnp.full((*buckets, num_segments, *data.shape[segment_ids.ndim:]), neutral(update, data.dtype), data.dtype)
    # Negative numbers count from the end for x.at[...]; here they are out of range.
    rows = jnp.where(segment_ids < 0, num_segments, segment_ids)
    index = rows if bucket_size is None else (jnp.arange(segment_ids.size) // bucket_size, rows)
    options = {"indices_are_sorted": is_sorted, "unique_indices": unique, "mode": mode or "drop"}
    out = getattr(start.at[index], "multiply" if update == "mul" else update)(data, **options)
    return out if bucket_size is None else REDUCERS[update](out, axis=0).astype(data.dtype)
