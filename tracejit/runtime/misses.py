"""Why a jitted function had to be compiled again: the settings log_compiles and explain_cache_misses."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tracejit.config import config
from tracejit.pytree import PyTreeDef
from tracejit.tree_util import keystr, tree_leaves_with_path


class CallKey(NamedTuple):
    """What compiled code is found by; equal keys share code."""
    tree: PyTreeDef         # of (positional arguments, named arguments)
    types: tuple
    static: tuple           # (position or name, value) of the static arguments
    static_types: tuple
    settings: tuple
    axes: tuple             # the axis names that are bound outside
    n_args: int
    device: Any = None      # None: the host


def leaf_names(tree: PyTreeDef) -> list[str]:
    """Each leaf as it is reached from the arguments: args[0]['w'], kwargs['x']."""
    args, kwargs = tree.unflatten([0] * tree.num_leaves)
    return [f"args{keystr(path)}" for path, _ in tree_leaves_with_path(args)] + [
        f"kwargs{keystr(path)}" for path, _ in tree_leaves_with_path(kwargs)]


def differences(new: CallKey, old: CallKey) -> list[str]:
    """In words, what kept the code for `old` from being used for `new`."""
    found = []
    if new.tree != old.tree:
        found.append(f"the arguments are {new.tree!r} and were {old.tree!r}")
    else:
        found += [f"{name} is {now} and was {before}"
                  for name, now, before in zip(leaf_names(new.tree), new.types, old.types) if now is not before]
    if (new.static, new.static_types) != (old.static, old.static_types):
        found.append(f"the static arguments are {dict(new.static)} and were {dict(old.static)}")
    found += [f"the setting {name} is {now!r} and was {before!r}"
              for name, now, before in zip(config.keyed, new.settings, old.settings) if now != before]
    if new.axes != old.axes:
        found.append(f"the axes {dict(new.axes)} are bound and were {dict(old.axes)}")
    if new.device != old.device:
        found.append(f"it runs on {new.device or 'the host'} and ran on {old.device or 'the host'}")
    return found


def explain(name: str, new: CallKey, known: Iterable[CallKey]) -> str:
    """One line: why none of the known keys fits, by the one that is closest."""
    reasons: Sequence[Sequence[str]] = sorted((differences(new, old) for old in known), key=len)
    if not reasons:
        return f"{name} is compiled: it was not called before"
    return f"{name} is compiled again: {'; '.join(reasons[0]) or 'its code was cleared'}"
