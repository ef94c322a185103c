"""The source -> the tables of docs/: accuracy.md, settings.md, errors.md and so on. `make docs` runs it; --check compares."""
from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import tracejit.lax
from tracejit import errors
from tracejit.absent import instead
from tracejit.config import config
from tracejit.lax.kinds import Op
from tracejit.tools.compat import is_present

DOCS = Path(__file__).parent
RULES = ("infer", "eval", "partials", "jvp", "transpose", "batch", "scalar", "pull")
NOTE = "<!-- Written by docs/generate.py from the source: change it there. -->\n\n"


def first_line(thing: object) -> str:
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(text.split()))  # or Markdown sees cells and links


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def settings() -> str:
    return ("# Settings\n\n" + NOTE + "Change one with `tracejit.config.update(name, value)`, for a block of code with "
            "`with tracejit.config.setting(name=value):`, or before Python starts with its environment variable. "
            "JAX's spelling with `jax_` in front is understood.\n\n" + config.describe() + "\n")


def error_classes() -> str:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)
               if issubclass(c, errors.TracejitError) and c is not errors.TracejitError]
    kinds = {c: [b.__name__ for b in c.__mro__ if b.__module__ == "builtins" and b not in Exception.__mro__]
             for c in classes}
    rows = [[f"`{c.__name__}`", ", ".join(f"`{k}`" for k in kinds[c]), first_line(c), (c.fix or "").replace("|", "\\|")]
            for c in sorted(dict.fromkeys(classes), key=lambda c: c.__name__)]
    return ("# Errors\n\n" + NOTE + "A message says what is wrong, on which line of your program, and what to write "
            "instead. All classes are in `tracejit.errors` and derive from `TracejitError`.\n\n"
            + table(["class", "also a", "when", "what to do"], rows))


def concrete_ops(base: type[Op] = Op) -> Iterator[type[Op]]:
    """Every op that can be bound: those that say what they mean."""
    for cls in base.__subclasses__():
        if cls.__module__.startswith("tracejit.lax.") and cls.eval is not Op.eval and not cls.__name__.startswith("_"):
            yield cls
        yield from concrete_ops(cls)


def origin(cls: type[Op], rule: str) -> str:
    """own: in the class; otherwise the kind that derives it; empty: there is none."""
    owner = next((c for c in cls.__mro__ if rule in vars(c)), Op)
    return "own" if owner is cls else "" if owner is Op else owner.__name__


def ops() -> str:
    for module in pkgutil.iter_modules(tracejit.lax.__path__):
        importlib.import_module(f"tracejit.lax.{module.name}")
    rows = []
    for cls in sorted(set(concrete_ops()), key=lambda c: (c.__module__, c.__name__)):
        file = Path(inspect.getsourcefile(cls) or "").relative_to(DOCS.parent)
        rows.append([f"[`{cls.__name__}`](../{file})", first_line(cls), *(origin(cls, rule) for rule in RULES)])
    return ("# Ops\n\n" + NOTE + "Each op is one class. A rule is its own, or derived by the kind named, or not needed "
            f"({len(rows)} ops).\n\n" + table(["op", "meaning", *RULES], rows))


# Public names whose values come from NumPy or Python on the host at run time, and why.
ON_THE_HOST = {"lax.rng_uniform": "a generator with state has no place in a compiled program",
               "pure_callback, experimental.io_callback, debug.callback, debug.print": "calling Python is what they are for",
               "experimental.sparse.linalg.spsolve": "sparse matrices are factorised by SuperLU",
               "numpy.save, savez, load, fromfile, array_str, array_repr": "files and text"}


def coverage() -> str:
    """Per namespace of JAX: how many of its public names exist here, and which do not."""
    listed = json.loads((DOCS / "jax_names.json").read_text())
    rows, absent = [], []
    for namespace, names in listed["names"].items():
        if not names:
            continue
        missing = [n for n in names if not is_present(f"{namespace}.{n}")]
        rows.append([f"`{namespace}`", str(len(names)), str(len(names) - len(missing)),
                     f"{100 * (1 - len(missing) / len(names)):.1f} %"])
        absent += [[f"`{namespace}`", ", ".join(f"`{n}`" for n in names), reason.replace("|", "\\|")]
                   for reason, names in by_reason(namespace, missing).items()]
    host = [[f"`{name}`", why] for name, why in ON_THE_HOST.items()]
    return (f"# Coverage of JAX's public API\n\n{NOTE}Against the public names of JAX {listed['version']} (`jax_names.json`, "
            "written by `docs/names_of_jax.py` where JAX is installed). Primitives (`add_p`) are not counted. A name that is "
            "absent raises an AttributeError with what stands in the last column below; `python -m tracejit.tools.compat "
            "FILE_OR_PACKAGE` says which names a program needs.\n\n" + table(["namespace", "names", "present", ""], rows)
            + "\n## Absent\n\n" + table(["namespace", "names", "why, and what to use"], absent)
            + "\n## Run on the host\n\nEverything else is compiled.\n\n" + table(["names", "why"], host))


def by_reason(namespace: str, names: list[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        _, _, reason = instead(f"{namespace}.{name}").partition("leaves it out: ")
        grouped.setdefault(reason or "not there yet", []).append(name)
    return grouped


def accuracy() -> str:
    """The table of largest errors, from what `tracejit.tools.accuracy` stored."""
    stored = json.loads((DOCS / "accuracy.json").read_text())
    dtypes = ["float32", "float64", "float16", "bfloat16", "complex64", "complex128"]
    shown = lambda found: "" if found is None else f"{found['ulp']:.2f} ({found['tested']})"
    rows = [[f"`{name}`", *[shown(found.get(d)) for d in dtypes]] for name, found in sorted(stored["functions"].items())]
    return ("# Accuracy\n\n" + NOTE + "The largest error found of each elementary function, in units in the last place of the "
            "true result (0.5 is correct rounding), and in parentheses what was tested. float32, float16 and bfloat16 are "
            "compared with the float64 function: all numbers, or 1 of N evenly spread over all of them; float64 and complex "
            "with mpmath at random and hard arguments: close to zeros, poles, branch points, multiples of pi / 2, and at both "
            "ends of the exponents. A complex result's error is its distance from the true one in units of its absolute "
            "value; that of `lgamma` and `digamma` below 0, where they cross zero between poles, is in units of 1 at least.\n\n"
            f"Measured on {stored['isa'].upper()} code with `python -m tracejit.tools.accuracy --save docs/accuracy.json`.\n\n"
            + table(["function", *dtypes], rows))


PAGES = {"accuracy.md": accuracy, "settings.md": settings, "errors.md": error_classes, "ops.md": ops, "coverage.md": coverage}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a page is not what would be written")
    check = parser.parse_args().check
    stale = [name for name, page in PAGES.items()
             if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    for name in stale:
        print(f"docs/{name} {'is out of date: run make docs' if check else 'written'}")
        if not check:
            (DOCS / name).write_text(PAGES[name]())
    return bool(check and stale)


if __name__ == "__main__":
    sys.exit(main())
