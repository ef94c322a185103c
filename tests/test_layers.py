"""The import graph is a line, heavy packages stay in their place, and files and functions stay short."""
from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tracejit"
MODULES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in MODULES]
EACH_MODULE = pytest.mark.parametrize("path", MODULES, ids=IDS)

# A module imports only its own package and lower layers; what is not named here is a public face (TOP).
LAYERS = [{"absent", "errors", "config", "pytree", "tree_util", "tree"}, {"ir"}, {"lax"}, {"transforms"}, {"codegen"}, {"runtime"}]
TOP = len(LAYERS)

# Package -> the only folders that may import it.
GPU = {"codegen/cuda", "runtime/cuda"}
CONFINED = {"llvmlite": {"codegen/cpu", "runtime", *GPU}, "numba": GPU, "cupy": GPU, "cuda": GPU, "nvmath": GPU, "cudnn": GPU}

# Imports inside a function or a class: (module, what), with the reason. Everything else imports at its top.
LAZY: dict[tuple[str, str], str] = {
    ("lax/reference.py", "scipy.special"): "slow to import, and only the reference meaning of ops needs it",
    ("lax/reference.py", "scipy.linalg.lapack"): "slow to import, and only the reference meaning of ops needs it",
    ("lax/incomplete.py", "fractions"): "only an incomplete gamma function that is compiled needs it",
    ("config.py", "difflib"): "only a message needs it",
    ("runtime/cache.py", "logging"): "only a message needs it",
    ("runtime/placed.py", "tracejit.codegen.cuda.interface"): "only arrays on a GPU need it",
}

MAX_FILE, MAX_FUNCTION = 600, 60


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    """The dotted name of a module inside the package: `lax.elementwise`, and `lax` for its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(name: str) -> int:
    first = name.split(".")[0]
    return next((i for i, layer in enumerate(LAYERS) if first in layer), TOP)


def imported(node: ast.AST, package: str) -> list[str]:
    """Full names of what a statement imports; `package` is the dotted folder of the module it stands in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = ".".join(package.split(".")[:len(package.split(".")) + 1 - node.level]) if node.level else ""
        module = ".".join(part for part in (base, node.module) if part)
        # `from tracejit import lax` names a module, `from tracejit.lax import exp` does not
        return [f"{module}.{a.name}" for a in node.names] if module == "tracejit" else [module]
    return []


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """(what is imported, whether the import is inside a function or class) for all but type-checking imports."""
    def walk(node: ast.AST, hidden: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            yield from ((name, hidden) for name in imported(child, package))
            if not is_type_checking(child):
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))
                yield from walk(child, hidden or inside)
    package = ".".join(path.relative_to(ROOT).parent.parts) if path.is_relative_to(ROOT) else "tracejit"
    return walk(parsed(path), False)


def is_upward(importer: str, name: str) -> bool:
    if name != "tracejit" and not name.startswith("tracejit."):
        return False
    target = name.removeprefix("tracejit").removeprefix(".")
    return layer_of(target) > layer_of(importer)


@EACH_MODULE
def test_no_upward_import(path: Path):
    if path == PACKAGE / "__init__.py":
        return
    upward = [name for name, _ in imports_of(path) if is_upward(name_of(path), name)]
    assert not upward, f"layer {layer_of(name_of(path))} imports from a higher one: {upward}"


@EACH_MODULE
def test_no_hidden_import(path: Path):
    where = str(path.relative_to(PACKAGE))
    hidden = [name for name, inside in imports_of(path) if inside and (where, name) not in LAZY]
    assert not hidden, f"imports inside functions: {hidden}"


@EACH_MODULE
def test_heavy_packages_stay_in_their_place(path: Path):
    where = path.relative_to(PACKAGE).as_posix()
    for name, _ in imports_of(path):
        allowed = CONFINED.get(name.split(".")[0])
        assert allowed is None or any(where.startswith(folder + "/") for folder in allowed), name


def test_lazy_list_has_no_leftovers():
    found = {(str(path.relative_to(PACKAGE)), name) for path in MODULES for name, inside in imports_of(path) if inside}
    assert set(LAZY) <= found


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the end, without the docstring."""
    docstring = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    return function.end_lineno - function.lineno + 1 - (
        docstring.end_lineno - docstring.lineno + 1 if docstring is not None else 0)


@EACH_MODULE
def test_files_and_functions_are_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE, "two subjects live in this file: split it"
    long = {f.name: code_lines(f) for f in functions_of(parsed(path)) if code_lines(f) > MAX_FUNCTION}
    assert not long, f"functions of more than {MAX_FUNCTION} lines: {long}"


def test_the_median_function_is_short():
    sizes = sorted(code_lines(f) for path in MODULES for f in functions_of(parsed(path)))
    median, ninetieth = sizes[len(sizes) // 2], sizes[len(sizes) * 9 // 10]
    print(f"{len(MODULES)} files, {len(sizes)} functions: median {median} lines, "
          f"90th percentile {ninetieth}, longest {sizes[-1]}")
    assert median <= 8 and ninetieth <= 24


@EACH_MODULE
def test_modules_say_what_they_are(path: Path):
    module = parsed(path)
    assert ast.get_docstring(module) or not module.body, "a module opens with a sentence that says what it does"


def test_checks_see_what_they_should(tmp_path: Path):
    file = tmp_path / "m.py"
    file.write_text("import tracejit.lax\nfrom tracejit import runtime\ndef f():\n    from numba import cuda\nfrom . import ir")
    assert list(imports_of(file)) == [("tracejit.lax", False), ("tracejit.runtime", False), ("numba", True),
                                      ("tracejit.ir", False)]
    assert imported(ast.parse("from ..lax.dot import dot").body[0], "tracejit.codegen.cpu") == ["tracejit.codegen.lax.dot"]
    assert is_upward("ir.graph", "tracejit.lax.kinds") and is_upward("lax", "tracejit.runtime")
    assert not is_upward("numpy", "tracejit.runtime") and not is_upward("lax.dot", "tracejit.lax.kinds")
    assert is_upward("lax", "tracejit"), "the top of the package imports everything"
    (function,) = functions_of(ast.parse('def f():\n    """One\n    two."""\n    return 1\n'))
    assert code_lines(function) == 2
