"""Which names of JAX a program uses, and whether each exists here: `python -m tracejit.tools.compat FILE_OR_PACKAGE...`.

A package is a folder or the name of an installed one. Nothing of the program is run: names are read off its text, so
what it reaches through `getattr` or through another library is not seen. The exit status is 1 if a name is absent.
"""
from __future__ import annotations

import argparse
import ast
import functools
import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import tracejit
from tracejit.absent import REASONS, instead
from tracejit.as_jax import counterpart, exists


@functools.cache
def found(name: str) -> list[Any]:
    """[what a dotted name of jax is here], or nothing."""
    if name.startswith("jax._src."):
        return found("jax." + name.removeprefix("jax._src."))     # the public twin, as install_as_jax does
    parent, _, last = name.rpartition(".")
    if not parent:
        return [tracejit]
    above = found(parent)
    if above and hasattr(above[0], last):
        return [getattr(above[0], last)]
    is_module = above and isinstance(above[0], ModuleType) and exists(counterpart(name))
    return [importlib.import_module(counterpart(name))] if is_module else []


def is_present(name: str) -> bool:
    """Whether a dotted name of jax exists here.

    >>> is_present("jax.numpy.sin"), is_present("jax.ffi.ffi_call")
    (True, False)
    """
    return bool(found(name))


class Names(ast.NodeVisitor):
    """Collects the names under jax that a module uses, with the lines where it does."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}         # a name in the program -> what of jax it is
        self.lines: dict[str, list[int]] = defaultdict(list)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == "jax":
                self.known[alias.asname or "jax"] = alias.name if alias.asname else "jax"
                self.lines[alias.name].append(node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and (node.module or "").split(".")[0] == "jax":
            for alias in node.names:
                name = node.module if alias.name == "*" else f"{node.module}.{alias.name}"
                self.known[alias.asname or alias.name] = name
                self.lines[name].append(node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self.dotted(node)
        if name is None:
            self.generic_visit(node)
        else:
            self.lines[name].append(node.lineno)

    def dotted(self, node: ast.expr) -> str | None:
        """What of jax an expression is: the longest chain of attributes through its modules."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        base = self.dotted(node.value)
        if base is None:
            return None
        return f"{base}.{node.attr}" if is_namespace(base) else base


def is_namespace(name: str) -> bool:
    """Whether attributes of this are names of jax: it is a module, its settings, or an absent module."""
    here = found(name)
    if here:
        return isinstance(here[0], ModuleType) or here[0] is tracejit.config
    return not is_namespace(name.rpartition(".")[0]) or any(name == r or name.startswith(r + ".") for r in REASONS)


def names_used(text: str) -> dict[str, list[int]]:
    """{name of jax: lines} of a program.

    >>> names_used("import jax.numpy as jnp\\ny = jnp.sin(jnp.pi)")
    {'jax.numpy': [1], 'jax.numpy.sin': [2], 'jax.numpy.pi': [2]}
    """
    names = Names()
    names.visit(ast.parse(text))
    return dict(names.lines)


def files_of(target: str) -> Iterator[Path]:
    """The Python files of a path, or of an installed package. ValueError if there is neither."""
    path = Path(target)
    if not path.exists():
        spec = importlib.util.find_spec(target)
        if spec is None or not spec.origin:
            raise ValueError(f"{target!r} is neither a path nor an installed package")
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
    yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def report(targets: Sequence[str], quiet: bool = False) -> int:
    """Print a line for each name; the number of absent ones."""
    places: dict[str, list[str]] = defaultdict(list)
    for target in targets:
        for file in files_of(target):
            for name, lines in names_used(file.read_text()).items():
                places[name] += [f"{file}:{line}" for line in lines]
    absent = [name for name in sorted(places) if not is_present(name)]
    for name in () if quiet else sorted(set(places) - set(absent)):
        print(f"present  {name:44} {len(places[name])} uses")
    for name in absent:
        print(f"ABSENT   {name:44} {len(places[name])} uses, first {places[name][0]}\n         {instead(name)}")
    print(f"{len(places)} names of jax, {len(absent)} absent")
    return len(absent)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tracejit.tools.compat", description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="+", metavar="FILE_OR_PACKAGE")
    parser.add_argument("-q", "--quiet", action="store_true", help="only what is absent")
    given = parser.parse_args(argv)
    return int(report(given.targets, given.quiet) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
