"""The operators and methods of BCOO and BCSR arrays: tracejit.numpy's functions, sparsified."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tracejit.numpy as jnp
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_fromdense
from tracejit.experimental.sparse.bcsr import BCSR
from tracejit.experimental.sparse.sparsify import sparsify
from tracejit.experimental.sparse.views import bcoo_transpose, bcoo_update_layout

BINARY: dict[str, Callable] = {"matmul": jnp.matmul, "mul": jnp.multiply, "truediv": jnp.divide, "add": jnp.add,
                               "sub": jnp.subtract}
COMPARISONS: dict[str, Callable] = {"lt": jnp.less, "le": jnp.less_equal, "gt": jnp.greater, "ge": jnp.greater_equal,
                                    "eq": jnp.equal, "ne": jnp.not_equal}
UNARY: dict[str, Callable] = {"abs": jnp.abs, "neg": jnp.negative, "pos": jnp.positive}


def swapped(f: Callable) -> Callable:
    return lambda a, b: f(b, a)


def power(self: BCOO, exponent: Any) -> BCOO:
    return sparsify(lambda x: jnp.power(x, exponent))(self)


def method(name: str) -> Callable:
    """The array method of this name, sparsified."""
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return sparsify(lambda x: getattr(x, name)(*args, **kwargs))(self)
    run.__name__, run.__doc__ = name, f"As {name} of a dense array, but sparse."
    return run


def item(self: Any, index: Any) -> Any:
    found = sparsify(lambda x: x[index])(self)
    return bcoo_fromdense(found) if isinstance(self, BCOO) and not isinstance(found, BCOO) and found.size == 0 else found


def rows(self: BCOO) -> Iterator[Any]:
    return iter([self[i] for i in range(self.shape[0])])


def transpose(self: BCOO, axes: Sequence[int] | None = None) -> BCOO:
    """Axes in another order (reversed by default); batch, sparse and dense axes stay among themselves."""
    return bcoo_transpose(self, permutation=range(self.ndim)[::-1] if axes is None else [int(a) % self.ndim for a in axes])


def update_layout(self: BCOO, *, n_batch: int | None = None, n_dense: int | None = None,
                  on_inefficient: str | None = "error") -> BCOO:
    """The same array with other numbers of batch and dense axes; see `bcoo_update_layout`."""
    return bcoo_update_layout(self, n_batch=n_batch, n_dense=n_dense, on_inefficient=on_inefficient)


def attach() -> None:
    for name, f in BINARY.items():
        setattr(BCOO, f"__{name}__", sparsify(f))
        setattr(BCOO, f"__r{name}__", sparsify(swapped(f)))
    for name, f in {**COMPARISONS, **UNARY}.items():
        setattr(BCOO, f"__{name}__", sparsify(f))
    for name in ("sum", "reshape", "astype"):
        setattr(BCOO, name, method(name))
    BCOO.transpose, BCOO.update_layout, BCOO.__pow__ = transpose, update_layout, power
    BCOO.__iter__, BCOO.__getitem__, BCSR.__getitem__ = rows, item, item
    BCSR.__matmul__, BCSR.__rmatmul__ = sparsify(jnp.matmul), sparsify(swapped(jnp.matmul))


attach()
