"""The name of an op -> where its rules are: its own, derived from its kind, or missing.

    python -m tracejit.tools.where exp          # one op
    python -m tracejit.tools.where              # a line per op
    python -m tracejit.tools.where --sizes      # sizes of files and functions; files that mention each op
"""
from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import tracejit.numpy
from tracejit.ir.text import subclasses
from tracejit.lax.kinds import Op

PACKAGE = Path(tracejit.__file__).parent
RULES = ("infer", "eval", "jvp", "partials", "transpose", "batch", "split", "scalar", "pull", "init", "element", "combine",
         "finish", "call")


def all_ops() -> list[type[Op]]:
    """The ops that have a meaning: subclasses of Op that evaluate."""
    found = {c for c in subclasses(Op) if c.eval is not Op.eval and c.__module__.startswith("tracejit.")}
    return sorted(found, key=lambda c: c.name)


def rule_of(cls: type, rule: str) -> tuple[str, str]:
    """("own" | "derived" | "missing" | "-", file:line). "-" where the op's kind has no such rule."""
    owner = next((c for c in cls.__mro__ if rule in c.__dict__), None)
    if owner is None:
        return "-", ""
    if owner is Op:
        return "missing", ""
    return "own" if owner is cls else "derived", place(getattr(owner, rule))


def place(function) -> str:
    code = inspect.unwrap(function).__code__
    path = Path(code.co_filename)
    return f"{path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE.parent) else path}:{code.co_firstlineno}"


def table_of(cls: type) -> str:
    lines = [f"{cls.__name__}: {(inspect.getdoc(cls) or '').splitlines()[0] if cls.__doc__ else ''}",
             f"  {'class':10} {'':8} {inspect.getsourcefile(cls).removeprefix(str(PACKAGE.parent) + '/')}:"
             f"{inspect.getsourcelines(cls)[1]}"]
    for rule in RULES:
        how, where = rule_of(cls, rule)
        if how != "-" and (rule, how) != ("split", "missing"):
            lines.append(f"  {rule:10} {how:8} {where}".rstrip())
    files = mentions(cls)
    return "\n".join([*lines, f"  named in {len(files)} other files: {', '.join(files)}" if files else "  named in no other file"])


def mentions(cls: type) -> list[str]:
    """Modules other than the op's own, and other than public faces (__init__), that name its class."""
    pattern, own = re.compile(rf"\b{cls.__name__}\b"), Path(inspect.getsourcefile(cls))
    return [str(p.relative_to(PACKAGE)) for p in sources() if p != own and p.name != "__init__.py" and pattern.search(code_text(p))]


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def code_text(path: Path) -> str:
    """The source without comments and strings of documentation."""
    return re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(), flags=re.S)


def summary() -> Iterator[str]:
    """A line per op: which rules are its own (name), derived (in brackets) and missing (-name)."""
    marks = {"own": "{}", "derived": "({})", "missing": "-{}"}
    for cls in all_ops():
        found = [(rule, rule_of(cls, rule)[0]) for rule in RULES]
        shown = [(rule, how) for rule, how in found if how != "-" and (rule, how) != ("split", "missing")]
        yield f"{cls.name:22} " + " ".join(marks[how].format(rule) for rule, how in shown)


def size_lines() -> Iterator[str]:
    """How long files and functions are, and how many files mention each op outside of its class."""
    functions, files = [], []
    for path in sources():
        text = path.read_text()
        files.append((len(text.splitlines()), str(path.relative_to(PACKAGE))))
        functions += [(node.end_lineno - node.lineno + 1, f"{path.relative_to(PACKAGE)}:{node.name}")
                      for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for what, found in (("files", files), ("functions", functions)):
        found.sort()
        yield f"{len(found)} {what}: median {found[len(found) // 2][0]} lines, 90th percentile {found[len(found) * 9 // 10][0]}"
        yield from (f"    {n:5} {name}" for n, name in reversed(found[-5:]))
    counts = sorted((len(mentions(cls)), cls.__name__) for cls in all_ops())
    yield f"{len(counts)} ops: named in {counts[len(counts) // 2][0]} other files (median), most:"
    yield from (f"    {n:5} {name}" for n, name in reversed(counts[-5:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("op", nargs="?", help="an op's name, as exp or dot_general")
    parser.add_argument("--sizes", action="store_true", help="sizes of files and functions")
    given = parser.parse_args()
    if given.op:
        found = [c for c in all_ops() if given.op in (c.name, c.__name__)]
        print("\n".join(map(table_of, found)) or f"no op is called {given.op!r}")
        return not found
    print("\n".join(size_lines() if given.sizes else summary()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
