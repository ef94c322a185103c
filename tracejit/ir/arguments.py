"""What the leaves of a call's arguments are called in messages: by parameter, and by their place in it."""
from __future__ import annotations

import inspect
from collections.abc import Callable

from tracejit.pytree import keystr, tree_flatten_with_path


def positional_names(f: Callable, n: int) -> list[str]:
    """The names of n positional arguments: x, y, and rest[0] of *rest; args[i] where the signature is not known.

    >>> positional_names(lambda x, *rest: x, 3), positional_names(type, 1)
    (['x', 'rest[0]', 'rest[1]'], ['args[0]'])
    """
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    own = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    known = len(own) if parameters else 0
    return [own[i] if i < known else f"{rest}[{i - known}]" for i in range(n)]


def argument_names(f: Callable, args: tuple, kwargs: dict) -> list[str]:
    """The name of each leaf of (args, kwargs).

    >>> argument_names(lambda x, y: x, ([1, 2],), {"y": 3})
    ['x[0]', 'x[1]', 'y']
    """
    given = [*zip(positional_names(f, len(args)), args), *sorted(kwargs.items())]
    return [name + keystr(path) for name, x in given for path, _ in tree_flatten_with_path(x)[0]]
