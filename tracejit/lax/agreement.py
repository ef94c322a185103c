"""What branches return and loops carry must agree; what is said where it does not, and of predicates, bounds and functions that
are none."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import CarryTypeError, DtypeError, ShapeError, TreeError, user_source
from tracejit.ir.arguments import positional_names
from tracejit.ir.types import ArrayType, type_of
from tracejit.pytree import PyTreeDef, keystr, tree_flatten_with_path, unflatten
from tracejit.tree_util import equality_errors


def check_callable(what: str, argument: str, *functions: Any) -> None:
    if not all(map(callable, functions)):
        raise TypeError(f"lax.{what}: {argument} should be callable, got {next(f for f in functions if not callable(f))!r}")


def difference_in_types(was: ArrayType, now: ArrayType) -> str:
    names = [name for name, differs in (("shapes", was.shape != now.shape), ("dtypes", was.dtype != now.dtype)) if differs]
    return " and ".join(names or ["weak types"])


# --- carries ---------------------------------------------------------------------------------------------------------

def carry_name(f: Callable, path: str, i: int = 0) -> str:
    """What the user calls a part of the carry: the parameter that holds it, and the path in it."""
    name = positional_names(f, i + 1)[i]
    return f"component {name}{path}" if path else name


def carry_structure_error(what: str, f: Callable, was: PyTreeDef, now: PyTreeDef) -> CarryTypeError:
    """Of a loop body that returns another structure than it is given."""
    before, after = (unflatten(tree, [0] * tree.num_leaves) for tree in (was, now))
    found = [f"The input carry {carry_name(f, keystr(path))} is a {one} but the corresponding component of the carry output is a "
             f"{two}: {why}" for path, one, two, why in equality_errors(before, after)] or [f"{was} and {now}"]
    return CarryTypeError(f"{what} body function carry input and carry output must have the same pytree structure, but they differ:"
                          "\n\n" + "\n".join(found), source=user_source(),
                          fix="return a carry of the structure that the body was given")


def carry_error(what: str, f: Callable, path: str, was: ArrayType, now: ArrayType) -> CarryTypeError:
    """Of a loop body that returns a carry of another type than it is given."""
    cast = f"cast it in the body with .astype('{was.dtype}'), or start from a {now.dtype} carry" \
        if was.shape == now.shape else "keep its shape, e.g. start from an array of the final shape"
    return CarryTypeError(f"{what} body function carry input and carry output must have equal types, but they differ:\n\n"
                          f"The input carry {carry_name(f, path)} has type {was.str_short()} but the corresponding output carry "
                          f"component has type {now.str_short()}, so the {difference_in_types(was, now)} do not match.",
                          source=user_source(), fix=cast)


# --- branches -----------------------------------------------------------------------------------------------------------

def branch_structure_error(what: str, names: tuple[str, str], trees: tuple[PyTreeDef, PyTreeDef]) -> TreeError:
    """Of two branches that return different structures."""
    names, trees = as_written(what, names), as_written(what, trees)
    one, two = (unflatten(tree, [0] * tree.num_leaves) for tree in trees)
    found = [f"{names[0]} output{at(path)} is a {a} but {names[1]} output{at(path)} is a {b}: {why}"
             for path, a, b, why in equality_errors(one, two)] or [f"{trees[0]} and {trees[1]}"]
    return TreeError(f"{what} branch outputs must have the same pytree structure, but they differ:\n\n" + "\n".join(found),
                     source=user_source(), fix="return the same pytree from every branch")


def branch_error(what: str, names: tuple[str, str], tree: PyTreeDef, i: int, types: tuple[ArrayType, ArrayType]) -> DtypeError:
    """Of two branches whose results number i have different types."""
    names, types = as_written(what, names), as_written(what, types)
    numbered = unflatten(tree, range(tree.num_leaves))
    path = tree_flatten_with_path(numbered)[0][i][0]
    return DtypeError(f"{what} branches must have equal output types but they differ.\n\nThe output of {names[0]}{at(path)} has "
                      f"type {types[0].str_short()} but the corresponding output of {names[1]} has type {types[1].str_short()}, "
                      f"so the {difference_in_types(*types)} do not match.", source=user_source(),
                      fix="make the branches return equal shapes and dtypes, e.g. with .astype or jnp.broadcast_to")


def as_written(what: str, pair: tuple) -> tuple:
    """What is said of cond's branches in the order in which they are written, true_fun first; they are numbered the other way."""
    return pair[::-1] if what == "cond" else pair


def at(path: Sequence) -> str:
    return f" at path {keystr(tuple(path))}" if path else ""


# --- predicates and indices ---------------------------------------------------------------------------------------------------

def predicate_type(pred: Any) -> ArrayType:
    """The type of what cond chooses by: a scalar, boolean or a real number."""
    if pred is None:
        raise TypeError("cond predicate is None")
    try:
        t = type_of(pred)
    except TypeError:
        raise TypeError(f"Pred must be a scalar, got {pred} of type {type(pred)}") from None
    if t.ndim:
        raise ShapeError(f"Pred must be a scalar, got {t.str_short()}", source=user_source(),
                         fix="use jnp.where to choose element by element, or vmap over cond")
    if t.dtype.kind == "c":
        raise TypeError(f"Pred type must be either boolean or number, got {t.dtype}.")
    return t


def index_type(index: Any) -> ArrayType:
    """The type of what switch chooses by: an integer scalar."""
    try:
        t = type_of(index)
    except TypeError:
        raise TypeError(f"Branch index must be scalar, got {index} of type {type(index)}") from None
    if t.ndim:
        raise ShapeError(f"Branch index must be scalar, got {index} of shape {t.shape}.", source=user_source())
    if t.dtype.kind not in "iu":
        raise DtypeError(f"Index type must be an integer, got {index} as {t.dtype}", source=user_source())
    return t
