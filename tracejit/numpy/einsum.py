"""Maps subscripts such as "ij,jk->ik" and arrays to a sequence of contractions of two arrays each.

"ij,jk,kl->il"  ->  an order (from NumPy's einsum_path)  ->  dot_general, dot_general
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import requested_dtype
from tracejit.numpy import reductions
from tracejit.numpy.linear import contract
from tracejit.numpy.promotion import (
    Array,
    DTypeLike,
    as_array,
    check_arraylike,
    check_no_out,
    expand_to,
    promote_dtypes,
)
from tracejit.runtime.eager import eager

LETTERS = string.ascii_letters


def einsum(
    subscripts: Any,
    /,
    *operands: Any,
    out: None = None,
    optimize: Any = "auto",
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    _dot_general: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Einstein's summation: letters name axes, a letter that is missing in the result is summed over.

    optimize: "auto", "optimal", "greedy", True, False, or a path as from einsum_path. Sizes of 1 are broadcast.

    >>> jnp.einsum("ij,j->i", jnp.array([[1, 2], [3, 4]]), jnp.array([1, 1]))
    Array([3, 7], dtype=int32)
    """
    check_no_out("einsum", out)
    subscripts, operands = _read_arguments(subscripts, operands)
    check_arraylike("einsum", *operands)
    preferred = None if preferred_element_type is None else requested_dtype(preferred_element_type)
    if isinstance(optimize, (list, tuple)) or precision.__hash__ is None:
        return _summed(subscripts, operands, optimize, precision, preferred)
    return _program(subscripts, optimize, precision, preferred)(*operands)


@functools.lru_cache(maxsize=4096)
def _program(subscripts: str, optimize: Any, precision: Any, preferred: np.dtype | None) -> Callable:
    """The compiled sum for known arrays: the order of contractions is sought once."""
    return eager(lambda *operands: _summed(subscripts, operands, optimize, precision, preferred))


def _summed(
    subscripts: str, operands: Sequence, optimize: Any, precision: Any, preferred: np.dtype | None
) -> Array:
    arrays = [as_array(x) for x in promote_dtypes("einsum", *operands)]
    terms, result = parse_subscripts(subscripts, [x.shape for x in arrays])
    _check_sizes(terms, arrays)
    work = list(zip(terms, arrays, strict=True))
    for step in _contraction_order(terms, arrays, result, optimize):
        picked = [work.pop(i) for i in sorted(step, reverse=True)][::-1]
        needed = set(result).union(*(t for t, _ in work))
        while len(picked) > 1:
            later = needed.union(*(t for t, _ in picked[2:]))
            picked[:2] = [_contract_two(*picked[:2], later, precision, preferred)]
        work.append(_reduce_one(*picked[0], needed))
    out = _arrange(*work[0], result)
    return out if preferred is None or out.dtype == preferred else lax.convert_element_type(out, preferred)


def einsum_path(subscripts: Any, /, *operands: Any, optimize: Any = "auto") -> tuple[list, Any]:
    """The order in which einsum contracts, and a description of its cost.

    >>> jnp.einsum_path("ij,jk,kl->il", jnp.ones((2, 9)), jnp.ones((9, 9)), jnp.ones((9, 2)))[0]
    [(0, 1), (0, 1)]
    """
    subscripts, operands = _read_arguments(subscripts, operands)
    shapes = [np.broadcast_to(np.zeros(()), np.shape(x)) for x in operands]
    path, info = np.einsum_path(subscripts, *shapes, optimize=_numpy_strategy(optimize))
    return path[1:], info  # NumPy's list begins with a word, JAX's does not


# --- subscripts --------------------------------------------------------------------------------------


def _read_arguments(subscripts: Any, operands: Sequence) -> tuple[str, list]:
    """Both calling styles as text and arrays: ("ij->ji", x) and (x, [0, 1], [1, 0])."""
    if isinstance(subscripts, str):
        return subscripts.replace(" ", ""), list(operands)
    items = [subscripts, *operands]
    arrays, lists = items[: len(items) // 2 * 2 : 2], items[1::2]
    result = [items[-1]] if len(items) % 2 else []
    letters = _letters_for([*lists, *result])
    text = ",".join("".join(letters[label] for label in axes) for axes in lists)
    return text + "".join("->" + "".join(letters[label] for label in axes) for axes in result), arrays


def _letters_for(lists: Sequence[Sequence[Hashable]]) -> dict[Hashable, str]:
    """A letter for each label of the interleaved style; letters are in the order of the labels."""
    labels = sorted({label for axes in lists for label in axes if label is not Ellipsis})  # type: ignore[type-var]
    if len(labels) > len(LETTERS):
        raise ValueError(f"einsum: {len(labels)} labels, of which {len(LETTERS)} can be told apart")
    return {Ellipsis: "...", **dict(zip(labels, sorted(LETTERS)))}


def lettered(text: str) -> str:
    """The text with a free letter for each other character, such as a digit, where the result is given."""
    others = sorted(set(text) - set(LETTERS + ".,->")) if "->" in text else []
    free = [c for c in LETTERS if c not in text]
    return text.translate({ord(c): letter for c, letter in zip(others, free)})


def parse_subscripts(text: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """(letters of each operand, letters of the result), with every Ellipsis spelled out.

    >>> parse_subscripts("...i,i", [(2, 3), (3,)])
    (['Zi', 'i'], 'Z')
    >>> parse_subscripts("a1,1->a", [(2, 3), (3,)])
    (['ab', 'b'], 'a')
    """
    inputs, arrow, result = lettered(text).partition("->")
    terms = inputs.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {len(terms)} terms in {text!r} but {len(shapes)} operands")
    spare = [c for c in reversed(LETTERS) if c not in text]
    extra = [len(s) - len(t.replace("...", "")) for t, s in zip(terms, shapes, strict=True)]
    for t, n, s in zip(terms, extra, shapes, strict=True):
        if n < 0 or (n and "..." not in t):
            raise ValueError(f"einsum: the term {t!r} does not fit an operand of shape {s}")
    dots = "".join(spare[: max([n for t, n in zip(terms, extra, strict=True) if "..." in t], default=0)])[::-1]
    dots = "".join(sorted(dots))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, extra, strict=True)]
    if arrow:
        result = result.replace("...", dots)
    else:
        joined = "".join(terms)
        result = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    for c in result:
        if c not in "".join(terms) or result.count(c) > 1:
            raise ValueError(f"einsum: the result's letter {c!r} is repeated or in no operand: {text!r}")
    if any(c not in LETTERS for t in terms for c in t):
        raise ValueError(f"einsum: subscripts must be letters: {text!r}")
    return terms, result


def _check_sizes(terms: list[str], arrays: list[Array]) -> None:
    sizes: dict[str, int] = {}
    for t, x in zip(terms, arrays, strict=True):
        for c, n in zip(t, x.shape, strict=True):
            if n != 1 and sizes.setdefault(c, n) != n:
                raise ShapeError(
                    f"einsum: size of label '{c}' for operand of shape {x.shape} ({n}) does not match previous "
                    f"terms ({sizes[c]})."
                )


def _numpy_strategy(optimize: Any) -> Any:
    if optimize is True or optimize in ("auto", "auto-hq", "branch-all", "branch-2"):
        return "greedy"
    if isinstance(optimize, (list, tuple)):
        return ["einsum_path", *[tuple(s) for s in optimize if not isinstance(s, str)]]
    return getattr(optimize, "value", optimize)


def _contraction_order(terms: list[str], arrays: list[Array], result: str, optimize: Any) -> list[tuple[int, ...]]:
    if len(arrays) <= 2:
        return [tuple(range(len(arrays)))]
    if optimize is False:
        return [(0, 1)] * (len(arrays) - 1) if len(arrays) == 2 else [tuple(range(len(arrays)))]
    shapes = [np.broadcast_to(np.zeros(()), x.shape) for x in arrays]
    path = np.einsum_path(",".join(terms) + "->" + result, *shapes, optimize=_numpy_strategy(optimize))[0]
    return path[1:]


# --- steps -------------------------------------------------------------------------------------------


def _added_up(x: Array, axes: Any) -> Array:
    """The sum in x's own dtype: of booleans whether any is True, as their product is whether both are."""
    return reductions.any(x, axes) if x.dtype.kind == "b" else reductions.sum(x, axes, dtype=x.dtype)


def _reduce_one(term: str, x: Array, needed: set[str]) -> tuple[str, Array]:
    """Repeated letters as diagonals, letters that nobody needs summed away."""
    for c in sorted(set(term)):
        while term.count(c) > 1:
            term, x = _take_diagonal(term, x, c)
    gone = tuple(i for i, c in enumerate(term) if c not in needed)
    if not gone:
        return term, x
    return "".join(c for c in term if c in needed), _added_up(x, gone)


def _take_diagonal(term: str, x: Array, c: str) -> tuple[str, Array]:
    i = term.index(c)
    j = term.index(c, i + 1)
    n = max(x.shape[i], x.shape[j])
    shape = tuple(n if k in (i, j) else d for k, d in enumerate(x.shape))
    same = lax.eq(lax.broadcasted_iota(np.dtype("int32"), shape, i), lax.broadcasted_iota(np.dtype("int32"), shape, j))
    x = lax.select(same, expand_to(x, shape), lax.full(shape, 0, x.dtype))
    return term[:j] + term[j + 1 :], _added_up(x, j)


def _without_singletons(term: str, x: Array, other_term: str, other: Array) -> tuple[str, Array]:
    """An axis of length 1 that the other operand has in full is dropped: that is broadcasting."""
    sizes = dict(zip(other_term, other.shape, strict=True))
    drop = tuple(i for i, c in enumerate(term) if x.shape[i] == 1 and sizes.get(c, 1) != 1)
    return ("".join(c for i, c in enumerate(term) if i not in drop), lax.squeeze(x, drop)) if drop else (term, x)


def _contract_two(
    first: tuple[str, Array], second: tuple[str, Array], needed: set[str], precision: Any, preferred: np.dtype | None
) -> tuple[str, Array]:
    (t1, x1), (t2, x2) = first, second
    (t1, x1), (t2, x2) = _reduce_one(t1, x1, needed | set(t2)), _reduce_one(t2, x2, needed | set(t1))
    (t1, x1), (t2, x2) = _without_singletons(t1, x1, t2, x2), _without_singletons(t2, x2, t1, x1)
    batch = [c for c in t1 if c in t2 and c in needed]
    summed = [c for c in t1 if c in t2 and c not in needed]
    (t1, x1), (t2, x2) = _reduce_one(t1, x1, needed | set(summed)), _reduce_one(t2, x2, needed | set(summed))
    free1, free2 = ([c for c in t if c not in batch and c not in summed] for t in (t1, t2))
    out_term = "".join([*batch, *free1, *free2])
    if not summed:
        return out_term, _product(t1, x1, t2, x2, out_term)
    axes = lambda letters, term: tuple(term.index(c) for c in letters)
    out = contract(
        "einsum", x1, x2, (axes(summed, t1), axes(summed, t2)), (axes(batch, t1), axes(batch, t2)), precision, preferred
    )
    return out_term, out


def _product(t1: str, x1: Array, t2: str, x2: Array, out_term: str) -> Array:
    """The product of two arrays that share only letters of the result."""
    sizes = dict(zip(t1 + t2, x1.shape + x2.shape, strict=True))
    shape = tuple(sizes[c] for c in out_term)

    def spread(term: str, x: Array) -> Array:
        order = sorted(range(len(term)), key=lambda i: out_term.index(term[i]))
        x = lax.transpose(x, order) if order != list(range(x.ndim)) else x
        return lax.broadcast_in_dim(x, shape, tuple(sorted(out_term.index(c) for c in term))) if x.shape != shape else x

    x1, x2 = spread(t1, x1), spread(t2, x2)
    return lax.mul(x1, x2) if x1.dtype.kind != "b" else lax.bitwise_and(x1, x2)


def _arrange(term: str, x: Array, result: str) -> Array:
    order = [term.index(c) for c in result]
    return x if order == list(range(x.ndim)) else lax.transpose(x, order)
