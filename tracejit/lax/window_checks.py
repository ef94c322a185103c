"""The dimension numbers of a gather or scatter as a program gives them -> an error that says which condition they break."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tracejit.errors import ShapeError, user_source
from tracejit.ir.types import ArrayType

# What gather and scatter call the same numbers.
WINDOW, DROPPED, MAP, OPERAND_BATCHING, INDICES_BATCHING = range(5)
NAMES = {
    "gather": ("offset_dims", "collapsed_slice_dims", "start_index_map", "operand_batching_dims", "start_indices_batching_dims"),
    "scatter": ("update_window_dims", "inserted_window_dims", "scatter_dims_to_operand_dims", "operand_batching_dims",
                "scatter_indices_batching_dims"),
}


def check_dimensions(op: str, numbers: Sequence[tuple[int, ...]], rank: int, operand: ArrayType, indices: ArrayType) -> None:
    """ShapeError unless the dimension numbers of a `rank`-dimensional result (of a gather) or of
    updates (of a scatter) fit each other, the operand and the indices.

    >>> operand, indices = ArrayType((3,), "float32"), ArrayType((2, 1), "int32")
    >>> next(problems("scatter", ((), (0, 0), (0,), (), ()), 1, operand, indices))
    'inserted_window_dims in scatter op must not repeat; got (0, 0)'
    """
    problem = next(problems(op, numbers, rank, operand, indices), None)
    if problem:
        raise ShapeError(problem, source=user_source(), fix="x[i] and x.at[i] of tracejit.numpy are easier")


def problems(op: str, numbers: Sequence[tuple[int, ...]], rank: int, operand: ArrayType, indices: ArrayType) -> Iterator[str]:
    names, last = NAMES[op], indices.ndim - 1
    if op == "scatter" and rank != last + len(numbers[WINDOW]):
        yield f"Updates tensor must be of rank {last + len(numbers[WINDOW])}; got {rank}."
    for which, limit in ((WINDOW, rank), (DROPPED, operand.ndim), (OPERAND_BATCHING, operand.ndim)):
        yield from out_of_order(op, names[which], numbers[which], limit)
    yield from shared(op, names, numbers, DROPPED, OPERAND_BATCHING)
    window = len(numbers[WINDOW]) + len(numbers[DROPPED]) + len(numbers[OPERAND_BATCHING])
    if op == "scatter" and window != operand.ndim:
        yield f"Scatter op has window of size {window}; doesn't match operand of rank {operand.ndim}."
    if indices.shape[-1:] != (len(numbers[MAP]),):
        yield (f"{op.capitalize()} op has {len(numbers[MAP])} elements in {names[MAP]} and the bound of dimension "
               f"index_vector_dim={last} of indices is {math.prod(indices.shape[-1:])}. These two numbers must be equal.")
    if any(not 0 <= d < operand.ndim for d in numbers[MAP]):
        yield f"Invalid {names[MAP]}{' mapping' * (op == 'scatter')}; domain is [0, {operand.ndim}), got: {numbers[MAP]}."
    yield from repeated(op, names[MAP], numbers[MAP])
    yield from shared(op, names, numbers, MAP, OPERAND_BATCHING)
    yield from unpaired(op, names, numbers, operand, indices)


def out_of_order(op: str, name: str, dims: tuple[int, ...], limit: int) -> Iterator[str]:
    """What is wrong with dimensions that must be distinct, rise and lie below a limit."""
    if list(dims) != sorted(dims):
        yield f"{name} in {op} op must be sorted; got {dims}"
    wrong = [(i, d) for i, d in enumerate(dims) if not 0 <= d < limit]
    if wrong and name == "offset_dims":
        i, d = wrong[0]
        yield f"Offset dimension {i} in gather op is out of bounds; got {d}, but should have been in [0, {limit})"
    if wrong:
        yield f"Invalid {name} set in {op} op; valid range is [0, {limit}); got: {wrong[0][1]}."
    yield from repeated(op, name, dims)


def repeated(op: str, name: str, dims: tuple[int, ...]) -> Iterator[str]:
    if len(set(dims)) < len(dims):
        yield f"{name} in {op} op must not repeat; got {dims}"


def shared(op: str, names: Sequence[str], numbers: Sequence[tuple[int, ...]], first: int, second: int) -> Iterator[str]:
    if set(numbers[first]) & set(numbers[second]):
        yield f"{names[first]} and {names[second]} in {op} op must be disjoint; got: {numbers[first]} and {numbers[second]}."


def unpaired(op: str, names: Sequence[str], numbers: Sequence[tuple[int, ...]], operand: ArrayType,
             indices: ArrayType) -> Iterator[str]:
    """What is wrong with the batch dimensions of the indices, and between them and those of the operand."""
    name, mine, theirs = names[INDICES_BATCHING], numbers[OPERAND_BATCHING], numbers[INDICES_BATCHING]
    yield from repeated(op, name, theirs)
    wrong = [d for d in theirs if not 0 <= d < indices.ndim]
    if wrong:
        yield f"Invalid {name} set in {op} op; valid range is [0, {indices.ndim}); got: {wrong[0]}."
    if indices.ndim - 1 in theirs:
        yield f"{op.capitalize()} op cannot have the index vector dimension as a batching dimension; got {theirs}."
    if len(mine) != len(theirs):
        yield f"{op.capitalize()} op requires equal numbers of operand_batching_dims and {name}, got {mine} and {theirs}."
    elif [operand.shape[d] for d in mine] != [indices.shape[d] for d in theirs]:
        yield (f"{op.capitalize()} op requires operand batching dimensions and indices batching dimensions to have the same "
               f"shape, got {tuple(operand.shape[d] for d in mine)} and {tuple(indices.shape[d] for d in theirs)}.")
