"""Rewrite rules as data: two functions of the same values, the right one cheaper. Both are traced into patterns.

An exact rule holds to the last bit for all values of the dtypes that it names, nan, infinities and -0.0 included
(so x + 0 = x is for integers only: -0.0 + 0.0 is 0.0). Inexact rules hold for real numbers, state where, and are
used only when the setting `inexact_rules` is on.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Atom, Eqn, Graph, Lit, Var
from tracejit.ir.trace import trace
from tracejit.ir.types import NARROW, ArrayType, kind_of
from tracejit.lax.broadcast import BroadcastInDim

EXAMPLE = {"b": "bool", "i": "int32", "u": "uint32", "f": "float32", "c": "complex64"}


@dataclass(frozen=True)
class Rule:
    """left(x, ...) = right(x, ...). A parameter called p is a boolean; the others share a dtype of the given kinds."""
    name: str
    left: Callable
    right: Callable
    kinds: str = "iuf"
    commutes: bool = False      # also with the operands of the left side's last operation exchanged
    domain: str = ""            # of an inexact rule: where it holds
    least_size: int = 1         # bytes of the dtypes

    def holds_for(self, dtype: np.dtype) -> bool:
        return kind_of(dtype) in self.kinds and dtype.itemsize >= self.least_size and dtype not in NARROW

    @property
    def params(self) -> list[str]:
        return list(inspect.signature(self.left).parameters)

    def types(self, shape: tuple[int, ...], dtype: Any) -> list[ArrayType]:
        return [ArrayType(shape, "bool" if name == "p" else dtype) for name in self.params]

    @functools.cached_property
    def pattern(self) -> Graph:
        graph, _ = trace(lambda *xs: [self.left(*xs)], self.types((), EXAMPLE[self.kinds[0]]))
        return graph

    @property
    def root(self) -> Eqn:
        return self.pattern.eqns[-1]


RULES: tuple[Rule, ...] = (
    Rule("x * 1 = x", lambda x: lax.mul(x, 1), lambda x: x, commutes=True),
    Rule("x / 1 = x", lambda x: lax.div(x, 1), lambda x: x),
    Rule("x * -1 = -x", lambda x: lax.mul(x, -1), lambda x: lax.neg(x), "if", commutes=True),
    Rule("x - 0 = x", lambda x: lax.sub(x, 0), lambda x: x),
    Rule("x + -0.0 = x", lambda x: lax.add(x, -0.0), lambda x: x, "f", commutes=True),
    Rule("x + 0 = x", lambda x: lax.add(x, 0), lambda x: x, "iu", commutes=True),
    Rule("0 - x = -x", lambda x: lax.sub(0, x), lambda x: lax.neg(x), "iu"),
    Rule("x * 0 = 0", lambda x: lax.mul(x, 0), lambda x: 0, "iu", commutes=True),
    Rule("x - x = 0", lambda x: lax.sub(x, x), lambda x: 0, "iu"),
    Rule("--x = x", lambda x: lax.neg(lax.neg(x)), lambda x: x, "iufc"),
    Rule("x + -y = x - y", lambda x, y: lax.add(x, lax.neg(y)), lambda x, y: lax.sub(x, y), "iuf", commutes=True),
    Rule("x - -y = x + y", lambda x, y: lax.sub(x, lax.neg(y)), lambda x, y: lax.add(x, y)),
    Rule("-x * -y = x * y", lambda x, y: lax.mul(lax.neg(x), lax.neg(y)), lambda x, y: lax.mul(x, y)),
    Rule("-x / -y = x / y", lambda x, y: lax.div(lax.neg(x), lax.neg(y)), lambda x, y: lax.div(x, y), "f"),
    Rule("abs(-x) = abs(x)", lambda x: lax.abs(lax.neg(x)), lambda x: lax.abs(x), "if"),
    Rule("abs(abs(x)) = abs(x)", lambda x: lax.abs(lax.abs(x)), lambda x: lax.abs(x), "if"),
    Rule("(-x) ** 2 = x ** 2", lambda x: lax.square(lax.neg(x)), lambda x: lax.square(x)),
    Rule("abs(x) ** 2 = x ** 2", lambda x: lax.square(lax.abs(x)), lambda x: lax.square(x), "if"),
    Rule("pow(x, 2.0) = x ** 2", lambda x: lax.pow(x, 2.0), lambda x: lax.square(x), "f"),
    Rule("pow(x, 1.0) = x", lambda x: lax.pow(x, 1.0), lambda x: x, "f"),
    Rule("pow(x, 0.0) = 1", lambda x: lax.pow(x, 0.0), lambda x: 1, "f"),
    Rule("max(x, x) = x", lambda x: lax.max(x, x), lambda x: x),
    Rule("min(x, x) = x", lambda x: lax.min(x, x), lambda x: x),
    Rule("floor(floor(x)) = floor(x)", lambda x: lax.floor(lax.floor(x)), lambda x: lax.floor(x), "f"),
    Rule("real(complex(x, y)) = x", lambda x, y: lax.real(lax.complex(x, y)), lambda x, y: x, "f", least_size=4),
    Rule("imag(complex(x, y)) = y", lambda x, y: lax.imag(lax.complex(x, y)), lambda x, y: y, "f", least_size=4),
    Rule("conj(conj(x)) = x", lambda x: lax.conj(lax.conj(x)), lambda x: x, "c"),
    Rule("stop_gradient(x) = x", lambda x: lax.stop_gradient(x), lambda x: x, "fc"),
    Rule("select(p, x, x) = x", lambda p, x: lax.select(p, x, x), lambda p, x: x, "biufc"),
    Rule("select(not p, x, y) = select(p, y, x)", lambda p, x, y: lax.select(lax.bitwise_not(p), x, y),
         lambda p, x, y: lax.select(p, y, x), "biufc"),
    Rule("select(p, True, False) = p", lambda p: lax.select(p, True, False), lambda p: p, "b"),
    Rule("select(True, x, y) = x", lambda x, y: lax.select(np.bool_(True), x, y), lambda x, y: x, "biufc"),
    Rule("select(False, x, y) = y", lambda x, y: lax.select(np.bool_(False), x, y), lambda x, y: y, "biufc"),
    Rule("not not x = x", lambda x: lax.bitwise_not(lax.bitwise_not(x)), lambda x: x, "biu"),
    Rule("x and x = x", lambda x: lax.bitwise_and(x, x), lambda x: x, "biu"),
    Rule("x or x = x", lambda x: lax.bitwise_or(x, x), lambda x: x, "biu"),
    Rule("x xor x = 0", lambda x: lax.bitwise_xor(x, x), lambda x: 0, "biu"),
    Rule("x and True = x", lambda x: lax.bitwise_and(x, True), lambda x: x, "b", commutes=True),
    Rule("x and False = False", lambda x: lax.bitwise_and(x, False), lambda x: False, "b", commutes=True),
    Rule("x or True = True", lambda x: lax.bitwise_or(x, True), lambda x: True, "b", commutes=True),
    Rule("x or 0 = x", lambda x: lax.bitwise_or(x, 0), lambda x: x, "iu", commutes=True),
    Rule("x or False = x", lambda x: lax.bitwise_or(x, False), lambda x: x, "b", commutes=True),
    Rule("x xor 0 = x", lambda x: lax.bitwise_xor(x, 0), lambda x: x, "iu", commutes=True),
    Rule("x xor False = x", lambda x: lax.bitwise_xor(x, False), lambda x: x, "b", commutes=True),
    Rule("x and 0 = 0", lambda x: lax.bitwise_and(x, 0), lambda x: 0, "iu", commutes=True),
    Rule("x << 0 = x", lambda x: lax.shift_left(x, 0), lambda x: x, "iu"),
    Rule("x >> 0 = x", lambda x: lax.shift_right_logical(x, 0), lambda x: x, "iu"),
    Rule("x == x", lambda x: lax.eq(x, x), lambda x: True, "biu"),
    Rule("x != x", lambda x: lax.ne(x, x), lambda x: False, "biu"),
    Rule("not x < y = x >= y", lambda x, y: lax.bitwise_not(lax.lt(x, y)), lambda x, y: lax.ge(x, y), "iu"),
    Rule("not x == y = x != y", lambda x, y: lax.bitwise_not(lax.eq(x, y)), lambda x, y: lax.ne(x, y), "iuf"),
    Rule("not x != y = x == y", lambda x, y: lax.bitwise_not(lax.ne(x, y)), lambda x, y: lax.eq(x, y), "iuf"),
)

INEXACT_RULES: tuple[Rule, ...] = (
    Rule("x + 0 = x", lambda x: lax.add(x, 0), lambda x: x, "f", True, "x is not -0.0"),
    Rule("x * 0 = 0", lambda x: lax.mul(x, 0), lambda x: 0, "f", True, "x is finite"),
    Rule("x - x = 0", lambda x: lax.sub(x, x), lambda x: 0, "f", False, "x is finite"),
    Rule("log(exp(x)) = x", lambda x: lax.log(lax.exp(x)), lambda x: x, "f", False, "exp(x) neither overflows nor underflows"),
    Rule("exp(log(x)) = x", lambda x: lax.exp(lax.log(x)), lambda x: x, "f", False, "x >= 0"),
    Rule("sqrt(x) ** 2 = x", lambda x: lax.square(lax.sqrt(x)), lambda x: x, "f", False, "x >= 0"),
)


# --- matching ----------------------------------------------------------------------------------------------------

@functools.cache
def rules_by_op(inexact: bool) -> dict[Any, list[Rule]]:
    found: dict[Any, list[Rule]] = {}
    for rule in RULES + (INEXACT_RULES if inexact else ()):
        found.setdefault(rule.root.op, []).append(rule)
    return found


def literal_of(x: Atom) -> Lit | None:
    """The literal that an atom is, or repeats."""
    while x.__class__ is Var and x.eqn is not None and x.eqn.op.__class__ is BroadcastInDim:
        x = x.eqn.inputs[0]
    return x if x.__class__ is Lit else None


def match(pattern: Atom, x: Atom, bound: dict[Var, Atom]) -> bool:
    """Whether an atom has the form of a pattern; what the pattern's params stand for is added to `bound`."""
    if pattern.__class__ is Lit:
        found = literal_of(x)
        return found is not None and same_number(pattern.value, found.value)
    if pattern.eqn is None:
        seen = bound.setdefault(pattern, x)  # Vars are told apart by identity: == between them is element by element
        return seen is x or (seen.__class__ is Lit and x.__class__ is Lit and seen == x)
    made = x.eqn if x.__class__ is Var else None
    return made is not None and made.op == pattern.eqn.op and match_inputs(pattern.eqn.inputs, made.inputs, bound)


def match_inputs(patterns, inputs, bound: dict[Var, Atom]) -> bool:
    return len(patterns) == len(inputs) and all(match(p, x, bound) for p, x in zip(patterns, inputs))


def same_number(a: Any, b: Any) -> bool:
    if (a.dtype.kind == "b") != (b.dtype.kind == "b"):  # True equals 1.0, but select(p, 1.0, 0.0) is not p
        return False
    return bool(a == b) and (b.dtype.kind in "biu" or not is_zero_of_other_sign(a, b))


def is_zero_of_other_sign(a: Any, b: Any) -> bool:
    return bool(b == 0) and bool(np.signbit(np.float64(np.real(a))) != np.signbit(np.float64(np.real(b))))


def apply_rules(op: Any, inputs: list[Atom], inexact: bool) -> Any:
    """The right side of the first rule whose left side op(*inputs) is; None if there is none."""
    for rule in rules_by_op(inexact).get(op, ()):
        for given in (inputs, inputs[::-1]) if rule.commutes else (inputs,):
            bound: dict[Var, Atom] = {}
            if match_inputs(rule.root.inputs, given, bound) and fits(rule, bound):
                return rule.right(*[bound[p] for p in rule.pattern.params])
    return None


def fits(rule: Rule, bound: dict[Var, Atom]) -> bool:
    """Whether the dtypes are the rule's: a choice by numbers is none by p."""
    pairs = [(bound[p].type.dtype, name) for p, name in zip(rule.pattern.params, rule.params)]
    return all(dtype.kind == "b" if name == "p" else rule.holds_for(dtype) for dtype, name in pairs)
