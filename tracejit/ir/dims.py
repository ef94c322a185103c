"""Sizes that are not known yet: polynomials in named integers, `2*b + 1`, and finding the polynomial that numbers lie on."""
from __future__ import annotations

import ast
import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tracejit.errors import InconclusiveDimensionOperation

Monomial = tuple[str, ...]      # its factors, sorted: b*b*c is ("b", "b", "c")


class Dim:
    """A polynomial with rational coefficients. Immutable; `+`, `-` and `*` with numbers and others make new ones."""

    __slots__ = ("terms", "constraints")
    terms: dict[Monomial, Fraction]

    def __init__(self, terms: Mapping[Monomial, Any], constraints: Sequence[str] = ()):
        self.constraints = tuple(constraints)   # on its names, such as "b >= 8"
        self.terms = {m: Fraction(c) for m, c in sorted(terms.items(), key=lambda item: (-len(item[0]), item[0])) if c}

    @property
    def names(self) -> set[str]:
        return {name for monomial in self.terms for name in monomial}

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number where the names have these sizes; ValueError if it is none."""
        total = sum(c * math.prod(sizes[name] for name in m) for m, c in self.terms.items())
        if Fraction(total).denominator != 1:
            raise ValueError(f"{self} is not an integer for {dict(sizes)}")
        return int(total)

    def __add__(self, other: Any) -> Dim:
        return combined(self, other, lambda a, b: {m: a.get(m, 0) + b.get(m, 0) for m in {*a, *b}})

    def __mul__(self, other: Any) -> Dim:
        def product(a: dict, b: dict) -> dict:
            out: dict[Monomial, Fraction] = {}
            for (m, x), (n, y) in itertools.product(a.items(), b.items()):
                key = tuple(sorted(m + n))
                out[key] = out.get(key, Fraction(0)) + x * y
            return out
        return combined(self, other, product)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Any) -> Dim:
        return self + dim_of(other) * -1

    def __rsub__(self, other: Any) -> Dim:
        return dim_of(other) - self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Dim, int)) and self.terms == dim_of(other).terms

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __ge__(self, other: Any) -> bool:
        difference = self - other
        if (least := difference.least()) is not None and least >= 0:
            return True
        if (least := (-difference).least()) is not None and least > 0:
            return False
        raise InconclusiveDimensionOperation(f"Symbolic dimension comparison '{self}' >= '{other}' is inconclusive.",
                                             fix="say more of the sizes with constraints, such as 'b >= 8'")

    def __gt__(self, other: Any) -> bool: return self >= other + 1
    def __le__(self, other: Any) -> bool: return -self >= -other
    def __lt__(self, other: Any) -> bool: return -self >= 1 - other

    def least(self) -> Fraction | None:
        """A number that it is never below, as sizes are at least 1 or what a constraint says; None if none is found: with each
        name written as that and a part that is not negative, a polynomial of positive coefficients is least where these are 0."""
        known = [bound for bound in map(lower_bound, self.constraints) if bound]
        above = {name: Dim({(name,): 1, (): max([1, *[n for which, n in known if which == name]])}) for name in self.names}
        shifted = sum([functools.reduce(operator.mul, [above[name] for name in m], Dim({(): c})) for m, c in self.terms.items()],
                      Dim({}))
        return None if any(c < 0 for m, c in shifted.terms.items() if m) else shifted.terms.get((), Fraction(0))

    def __repr__(self) -> str:
        parts = []
        for monomial, c in self.terms.items():
            factors = [f"{'' if c == 1 else '-' if c == -1 else f'{c}*'}{'*'.join(monomial)}" if monomial else str(c)]
            parts += factors
        return " + ".join(parts).replace("+ -", "- ") or "0"


def lower_bound(constraint: str) -> tuple[str, int] | None:
    """The name and number of `b >= 8`, `b > 7` or `b == 8`."""
    found = re.fullmatch(r"\s*(\w+)\s*(>=|>|==)\s*(\d+)\s*", constraint)
    return found and (found[1], int(found[3]) + (found[2] == ">"))


def dim_of(x: Any) -> Dim:
    return x if isinstance(x, Dim) else Dim({(): operator.index(x)})


def combined(a: Dim, b: Any, f: Callable[[dict, dict], dict]) -> Dim:
    b = dim_of(b)
    return Dim(f(a.terms, b.terms), dict.fromkeys(a.constraints + b.constraints))


def simplest(x: Dim) -> Dim | int:
    """The dim itself, or the number that it is."""
    return x if x.names else x.value({})


# --- expressions ----------------------------------------------------------------------------------------------------

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
             ast.Mod: operator.mod, ast.Pow: operator.pow}
COMPARISONS = {ast.GtE: operator.ge, ast.LtE: operator.le, ast.Gt: operator.gt, ast.Lt: operator.lt, ast.Eq: operator.eq}
FUNCTIONS = {"mod": operator.mod, "floordiv": operator.floordiv, "max": max, "min": min}


def evaluated(text: str, values: Mapping[str, Any]) -> Any:
    """An expression of names, integers, + - * // % comparisons and mod, floordiv, max, min. ValueError for anything else.

    >>> evaluated("2*b >= mod(a, 4)", {"a": 7, "b": 1})
    False
    """
    def walk(node: ast.AST) -> Any:
        match node:
            case ast.Expression(body=body):
                return walk(body)
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return values[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](walk(left), walk(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                return COMPARISONS[type(op)](walk(left), walk(right))
            case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
                return FUNCTIONS[name](*map(walk, args))
        raise ValueError(f"{text!r}: {ast.unparse(node)} is no expression of sizes")
    try:
        return walk(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"{text!r} is no expression of sizes: {error}") from None


# --- interpolation -----------------------------------------------------------------------------------------------------

def fitted(points: Sequence[Mapping[str, int]], values: Sequence[int], degree: int = 2) -> Dim | None:
    """The polynomial of at most this degree on which the values lie, exactly; None if there is none.

    >>> fitted([{"b": 1}, {"b": 2}, {"b": 5}, {"b": 9}], [3, 5, 11, 19])
    2*b + 1
    """
    names = sorted(points[0])
    monomials = [m for d in range(degree + 1) for m in itertools.combinations_with_replacement(names, d)]
    rows = [[Fraction(math.prod(point[name] for name in m)) for m in monomials] + [Fraction(v)]
            for point, v in zip(points, values, strict=True)]
    solution = solved(rows, len(monomials))
    return None if solution is None else Dim(dict(zip(monomials, solution)))


def solved(rows: list[list[Fraction]], n: int) -> list[Fraction] | None:
    """The one solution of linear equations [coefficients..., right side]; None where they contradict each other."""
    rows = list(rows)
    for column in range(n):
        at = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if at is None:
            raise ValueError("the points do not determine a polynomial; give more of them in general position")
        rows[column], rows[at] = rows[at], rows[column]
        rows[column] = pivot = [a / rows[column][column] for a in rows[column]]
        rows = [row if i == column else [a - row[column] * b for a, b in zip(row, pivot)] for i, row in enumerate(rows)]
    return None if any(row[n] for row in rows[n:]) else [row[n] for row in rows[:n]]
