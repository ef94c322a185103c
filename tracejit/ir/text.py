"""Text -> Graph: reads back what printing a graph gives. `parse(str(graph))` is the graph up to names and source lines.

    graph(%0: f32[3]):
      %1: f32[3] = mul[] %0 2.0:f32[]
      return %1
"""
from __future__ import annotations

import dataclasses
import functools
import re
import sys
from typing import Any

import numpy as np

from tracejit.ir.graph import Atom, Eqn, Graph, Lit, Operation, Var
from tracejit.ir.types import DTYPE_OF_SHORT_NAME, ArrayType, TapeType

WORDS = {"None": None, "True": True, "False": False, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, **DTYPE_OF_SHORT_NAME}
ARRAY = re.compile(r"(\w+)\[([\d,]*)\](~?)")
TOKEN = re.compile(r"'[^']*'|[(),]|[^(),']+")


def parse(text: str) -> Graph:
    """The graph that prints as `text`. ValueError for what is no graph, such as an op that holds a Python function."""
    lines = [line for line in text.splitlines() if line.strip()]
    graph, rest = parse_graph(lines)
    if rest:
        raise ValueError(f"expected the end of the graph, found {rest[0]!r}")
    return graph


def parse_graph(lines: list[str]) -> tuple[Graph, list[str]]:
    """The graph at the head of the lines, and the lines after it."""
    names: dict[str, Var] = {}
    head, *lines = lines
    params = [binder(part, names) for part in split_top(inside(head, "graph(", "):"))]
    eqns: list[Eqn] = []
    while not lines[0].strip().startswith("return"):
        line, *lines = lines
        subs: list[Graph] = []
        while lines[0].strip().startswith("graph("):
            sub, lines = parse_graph(lines)
            subs.append(sub)
        eqns.append(parse_eqn(line.split("    # ")[0].strip(), subs, names))
    line, *lines = lines
    return Graph(params, eqns, [atom(word, names) for word in split_top(line.strip().removeprefix("return"))]), lines


def inside(line: str, start: str, end: str) -> str:
    line = line.strip()
    if not (line.startswith(start) and line.endswith(end)):
        raise ValueError(f"expected {start}...{end}, found {line!r}")
    return line[len(start):-len(end)]


def split_top(text: str) -> list[str]:
    """Parts between commas that are outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return [p.strip() for p in parts if p.strip()]


def binder(text: str, names: dict[str, Var]) -> Var:
    name, type_text = text.split(": ")
    names[name] = found = Var(parse_type(type_text))
    return found


def parse_type(text: str) -> ArrayType | TapeType:
    if text.startswith("tape("):
        return TapeType(parse_type(text.removeprefix("tape(").removesuffix(")")))
    found = ARRAY.fullmatch(text)
    if not found or found[1] not in DTYPE_OF_SHORT_NAME:
        raise ValueError(f"{text!r} is not a type")
    return ArrayType(tuple(map(int, filter(None, found[2].split(",")))), DTYPE_OF_SHORT_NAME[found[1]], bool(found[3]))


def atom(word: str, names: dict[str, Var]) -> Atom:
    if word.startswith("%"):
        return names[word]
    value, type_text = word.rsplit(":", 1)
    t = parse_type(type_text)
    if t.dtype.kind == "b":
        return Lit(value == "True", t)
    if t.dtype.kind in "iu":
        return Lit(int(value), t)
    return Lit(complex(value) if t.dtype.kind == "c" else float(value), t)


def parse_eqn(line: str, subs: list[Graph], names: dict[str, Var]) -> Eqn:
    left, right = line.split(" = ", 1) if " = " in line else ("", line.removeprefix("= "))
    name, rest = right.split("[", 1)
    end = closing(rest)
    inputs = [atom(word, names) for word in rest[end + 1:].split()]
    op = make_op(name, rest[:end], subs)
    return Eqn(op, inputs, [binder(part, names) for part in split_top(left)])


def closing(text: str) -> int:
    """Where the bracket that is open at the start is closed."""
    depth = 1
    for i, c in enumerate(text):
        depth += (c == "[") - (c == "]")
        if not depth:
            return i
    raise ValueError(f"no closing bracket in {text!r}")


# --- ops: found among the subclasses of Operation by their names --------------------------------------------------

def subclasses(cls: type) -> list[type]:
    return [c for sub in cls.__subclasses__() for c in (sub, *subclasses(sub))]


def op_named(name: str) -> type:
    for cls in subclasses(Operation):
        if cls.name == name and dataclasses.is_dataclass(cls):
            return cls
    raise ValueError(f"no op is called {name!r}")


def make_op(name: str, static: str, subs: list[Graph]) -> Any:
    cls = op_named(name)
    given = dict(part.split("=", 1) for part in static.split())
    graphs, values = list(subs), {}
    for field in dataclasses.fields(cls):
        if field.name in given:
            values[field.name] = coerced(value_of(given[field.name]), cls, field)
        elif not field.repr:
            continue
        elif field.type == "Graph":
            values[field.name] = graphs.pop(0)
        else:
            values[field.name], graphs = tuple(graphs), []
    return cls(**values)


def value_of(text: str) -> Any:
    if text.startswith("<"):
        raise ValueError(f"a Python function cannot be read back: {text}")
    tokens = TOKEN.findall(text)
    value = take_value(tokens)
    if tokens:
        raise ValueError(f"{text!r} is not a static parameter")
    return value


def take_value(tokens: list[str]) -> Any:
    token = tokens.pop(0)
    if token == "(":
        items = []
        while tokens[0] != ")":
            items.append(take_value(tokens))
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return tuple(items)
    if token.startswith("'"):
        return token[1:-1]
    if token in WORDS:
        return WORDS[token]
    return float(token) if any(c in token for c in ".en") else int(token)


@functools.cache
def record_class(module: str, annotation: str) -> type | None:
    """The named tuple of which a field `tuple[Name, ...]` holds several."""
    inner = re.fullmatch(r"tuple\[(\w+), \.\.\.\]", annotation)
    found = getattr(sys.modules[module], inner[1], None) if inner else None
    return found if hasattr(found, "_fields") else None


def coerced(value: Any, cls: type, field: dataclasses.Field) -> Any:
    record = record_class(cls.__module__, field.type)
    return tuple(record(*items) for items in value) if record else value
