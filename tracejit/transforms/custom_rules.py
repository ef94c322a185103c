"""The user's rules of derivatives on pytrees -> rules on flat values, checked: what custom_jvp and custom_vjp hand to their ops."""
from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError, ShapeError, TreeError, user_source
from tracejit.ir.graph import Lit, Var
from tracejit.ir.trace import bind, is_running, substituting
from tracejit.ir.types import FLOAT0, ArrayType, is_array_like, is_inexact, type_of
from tracejit.lax.control import convert_type
from tracejit.lax.custom import Held, Name
from tracejit.pytree import PyTreeDef, flatten_up_to, tree_flatten, unflatten


@dataclass(frozen=True)
class SymbolicZero:
    """The tangent or cotangent of a value that does not vary: zeros of this type, never computed."""
    aval: ArrayType

    @property
    def shape(self) -> tuple[int, ...]: return self.aval.shape
    @property
    def dtype(self) -> np.dtype: return self.aval.dtype
    @property
    def type(self) -> ArrayType: return self.aval

    @staticmethod
    def from_primal_value(val: Any) -> SymbolicZero:
        """The tangent zero of a value."""
        return SymbolicZero(type_of(val).strong())


@dataclass(frozen=True)
class CustomVJPPrimal:
    """An argument of fwd under symbolic_zeros=True: its value, and whether a derivative with respect to it is wanted."""
    value: Any
    perturbed: bool


def held(captured: Sequence) -> tuple:
    """What a function captured as parts of a rule: arrays are told apart by identity."""
    return tuple(x if isinstance(x, Var) else Held.of(x) for x in captured)


def released(captured: Sequence) -> list:
    return [x.array if isinstance(x, Held) else x for x in captured]


class Interned:
    """Rules with equal parts are one object, so that programs which hold them are equal too."""
    _serials = itertools.count()
    _made: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def __init__(self, *parts: Any):
        self.parts, self.serial = parts, next(self._serials)

    @classmethod
    def of(cls, *parts: Any):
        try:
            hash(parts)
        except TypeError:
            return cls(*parts)
        if any(isinstance(x, Var) for part in parts if isinstance(part, tuple) for x in part):
            return cls(*parts)
        key = cls, parts
        found = cls._made.get(key)
        if found is None:
            found = cls._made.setdefault(key, cls(*parts))
        return found

    def __repr__(self) -> str:
        name = getattr(self.parts[0], "__qualname__", type(self.parts[0]).__name__)
        return f"{type(self).__name__.lower()}({name})#{self.serial}"


def zero_tangent(t: ArrayType) -> Any:
    return lax.full(t.shape, 0, t.dtype) if is_inexact(t.dtype) else np.zeros(t.shape, FLOAT0)


def with_static(static: tuple, n: int, dynamic: Sequence[Any]) -> list:
    """All positional arguments from the static ones (position, value) and the others."""
    fixed, rest = dict(static), iter(dynamic)
    return [fixed[i] if i in fixed else next(rest) for i in range(n)]


def checked_derivative(what: str, x: Any, t: ArrayType, where: str) -> Any:
    """A tangent (cotangent) that a rule returned for a value of type t, in exactly the type it must have; None for zero."""
    if x is None or not is_inexact(t.dtype):
        return None
    got = type_of(x)
    words = f"{what} {where} of type {got.str_short()} for a value of type {t.str_short()}"
    if got.shape != t.shape:
        fix = "Consider just returning a None here" if isinstance(x, SymbolicZero) else None
        raise ShapeError(f"{words}: it must have its shape", source=user_source(), fix=fix)
    if got.dtype != t.dtype and not got.weak_type:
        raise DtypeError(f"{words}: it must have its dtype", source=user_source(), fix=f"convert it with .astype('{t.dtype}')")
    return None if isinstance(x, SymbolicZero) else convert_type(x, t.strong())


def user_values(values: Sequence) -> list:
    """Values of a program as user code may see them: a literal has no operators."""
    return [bind(Name(""), x) if x.__class__ is Lit else x for x in values]


def closed_over(rules: Sequence[Any]) -> list[Var]:
    """The values of traces that are still running which rules refer to: in closures, also in those of functions inside,
    and as arguments of functools.partial."""
    pending, found, seen = list(rules), {}, set()
    while pending:
        x = pending.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Var):
            found[id(x)] = x
        elif isinstance(x, functools.partial):
            pending += [x.func, *x.args, *x.keywords.values()]
        elif isinstance(x, FunctionType):
            pending += [cell.cell_contents for cell in x.__closure__ or () if is_filled(cell)]
        elif isinstance(x, (list, tuple, dict)):
            pending += [v for v in tree_flatten(x, lambda v: v is None)[0] if isinstance(v, (Var, FunctionType))]
    return [x for x in found.values() if is_running(x)]


def is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def substituted(values: Sequence, captured: Sequence, consts: Sequence) -> list:
    """What a rule returned, with what stands for the values that it had captured in their place."""
    instead = {id(x): value for x, value in zip(captured, consts)}
    return [instead.get(id(x), x) for x in values]


def name_of(f: Callable) -> str:
    return getattr(f, "__name__", str(f))


def check_outputs(rule: str, function: str, outs: Sequence, tree: PyTreeDef, out_tree: PyTreeDef,
                  types: Sequence[ArrayType]) -> None:
    """The outputs of a rule are those of the function."""
    first = f"{rule} where the first element represents the primal output of the {function}, but instead its first element had"
    if tree != out_tree:
        raise TreeError(f"{first} container/pytree structure:\n    {tree}\nwhile the {function} had output container/pytree "
                        f"structure:\n    {out_tree}.", source=user_source())
    got = [type_of(x) for x in outs]
    if any((x.shape, x.dtype) != (t.shape, t.dtype) for x, t in zip(got, types)):
        raise ShapeError(f"{first} shapes/dtypes of:\n    {shown(got)}\nwhile the {function} had output shapes/dtypes of:\n    "
                         f"{shown(types)}", source=user_source())


def shown(types: Sequence[ArrayType]) -> str:
    return ", ".join(t.str_short() for t in types)


class JvpRule(Interned):
    """rule(consts, primals, tangents) -> (outputs, tangents), flat, from the user's rule on pytrees."""

    def __call__(self, consts: Sequence, primals: Sequence, tangents: Sequence) -> tuple[list, list]:
        jvp, in_tree, out_tree, static, symbolic, captured, name, out_types = self.parts
        primals, tangents = user_values(primals), user_values(tangents)
        types = [type_of(x) for x in primals]
        zero = SymbolicZero if symbolic else zero_tangent
        ts = [zero(t.strong()) if x is None else x for x, t in zip(tangents, types)]
        ps = unflatten(in_tree, list(primals))
        with substituting(released(captured), consts):
            result = jvp(*[value for _, value in static], ps, unflatten(in_tree, ts))
        rule = f"Custom JVP rule {name_of(jvp)} for function {name}"
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"{rule} must produce a pair (list or tuple of length two) representing primal and tangent outputs, "
                            f"but got {result}")
        outs, tree = tree_flatten(result[0])
        out_ts, t_tree = tree_flatten(result[1], is_leaf=lambda x: isinstance(x, SymbolicZero))
        if tree != t_tree:
            raise TreeError(f"{rule} must produce primal and tangent outputs with equal container (pytree) structures, but got "
                            f"{tree} and {t_tree} respectively.", source=user_source())
        check_outputs(f"{rule} must produce a pair (list or tuple of length two)", f"custom_jvp-decorated function {name}", outs,
                      tree, out_tree, out_types)
        outs, out_ts = (substituted(xs, released(captured), consts) for xs in (outs, out_ts))
        words = "Custom JVP rule must produce primal and tangent outputs with corresponding shapes and dtypes: got"
        return outs, [checked_derivative(words, t, type_of(x), "a tangent") for x, t in zip(outs, out_ts)]


class VjpRule(Interned):
    """fwd(consts, primals, perturbed) -> (outputs, residuals, bwd), flat, from the user's pair of rules on pytrees."""

    def __call__(self, consts: Sequence, primals: Sequence, perturbed: Sequence[bool]) -> tuple[list, list, Callable]:
        fwd, bwd, in_tree, out_tree, static, n_args, symbolic, captured, name, out_types = self.parts
        primals = user_values(primals)
        leaves = [CustomVJPPrimal(x, p) for x, p in zip(primals, perturbed)] if symbolic else list(primals)
        with substituting(released(captured), consts):
            result = fwd(*with_static(static, n_args, unflatten(in_tree, leaves)))
        rule = f"Custom VJP fwd rule {name_of(fwd)} for function {name} must produce a pair (list or tuple of length two)"
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"{rule} of outputs and residuals, but got {result}")
        outs, tree = tree_flatten(result[0])
        check_outputs(rule, f"custom_vjp-decorated function {name}", outs, tree, out_tree, out_types)
        residuals, res_tree = tree_flatten(result[1])
        outs, residuals = (substituted(xs, released(captured), consts) for xs in (outs, residuals))
        kept, fixed = apart(residuals)
        types = tuple(type_of(x) for x in primals)
        pull = BwdRule.of(bwd, in_tree, out_tree, res_tree, static, types, fixed, captured, tuple(type(x) for _, x in fixed),
                          symbolic, out_types)
        return outs, [*consts, *kept], pull


PYTHON_NUMBERS = (bool, int, float, complex)


def apart(residuals: Sequence) -> tuple[list, tuple]:
    """The residuals that are arrays, and (position, value) of those that are not: bwd gets Python's numbers as they are."""
    kept, fixed = [], []
    for i, x in enumerate(residuals):
        if isinstance(x, Var) or (is_array_like(x) and not isinstance(x, PYTHON_NUMBERS)):
            kept.append(x)
        else:
            fixed.append((i, x))
    return kept, tuple(fixed)


class BwdRule(Interned):
    """bwd(residuals, cotangents of the outputs) -> cotangents of the arguments, flat; None where zero."""

    def __call__(self, residuals: Sequence, cts: Sequence) -> list:
        bwd, in_tree, out_tree, res_tree, static, types, fixed, captured, _, symbolic, out_types = self.parts  # _ tells 1 from True
        zero = SymbolicZero if symbolic else zero_tangent
        cts = [zero(t.strong()) if ct is None else ct for ct, t in zip(cts, out_types)]
        n, residuals, cts = len(captured), user_values(residuals), user_values(cts)
        kept = with_static(fixed, len(residuals) - n + len(fixed), residuals[n:])
        out_cts = unflatten(out_tree, list(cts))
        with substituting(released(captured), residuals[:n]):
            result = bwd(*[value for _, value in static], unflatten(res_tree, kept), out_cts)
        if isinstance(result, list):
            result = tuple(result)
        children = in_tree.children()
        if not isinstance(result, tuple) or len(result) != len(children):
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"Custom VJP bwd rule {name_of(bwd)} must produce a tuple with a cotangent for each of the "
                            f"{len(children)} differentiable arguments, got {got}")
        flat = [(i, ct) for i, (part, tree) in enumerate(zip(result, children)) for ct in cotangents_of(part, tree, i)]
        cts = substituted([ct for _, ct in flat], released(captured), residuals[:n])
        return [checked_derivative(f"Custom VJP bwd rule: at output[{i}] the bwd rule produced", ct, t, "an output")
                for (i, _), ct, t in zip(flat, cts, types)]


def cotangents_of(part: Any, tree: PyTreeDef, i: int) -> list:
    """The leaves of the cotangent of argument i; None stands for zeros."""
    if part is None:
        return [None] * tree.num_leaves
    leaves, prefix = tree_flatten(part, lambda x: x is None)
    try:
        below = [len(tree_flatten(t)[0]) for t in flatten_up_to(prefix, unflatten(tree, range(tree.num_leaves)))]
        if all(n == 1 or x is None for n, x in zip(below, leaves)):     # one array for a node that holds one
            return [x for n, x in zip(below, leaves) for _ in range(n)]
    except TreeError:
        pass
    try:
        return flatten_up_to(tree, part)
    except TreeError as error:
        raise TreeError(f"custom_vjp: the cotangent of argument {i} does not have its structure: {error.what}",
                        source=user_source(), fix="return a cotangent of the argument's structure; None for zeros") from None
