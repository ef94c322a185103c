"""The installed JAX -> docs/jax_names.json: its public names per namespace. Run it where JAX is installed.

Left out: modules that leak into a namespace by an import, and primitives (`add_p`), which are objects of JAX's machinery.
"""
from __future__ import annotations

import importlib
import json
import sys
import types
import warnings
from pathlib import Path

PATH = Path(__file__).parent / "jax_names.json"
NAMESPACES = """jax jax.numpy jax.numpy.linalg jax.numpy.fft jax.lax jax.lax.linalg jax.random jax.nn jax.nn.initializers
    jax.scipy jax.scipy.special jax.scipy.linalg jax.scipy.stats jax.scipy.stats.* jax.scipy.signal jax.scipy.ndimage
    jax.scipy.optimize jax.scipy.integrate jax.scipy.interpolate jax.scipy.fft jax.scipy.cluster.vq jax.scipy.sparse.linalg
    jax.scipy.spatial.transform jax.image jax.ops jax.tree jax.tree_util jax.flatten_util jax.dtypes jax.typing jax.errors
    jax.core jax.debug jax.dlpack jax.profiler jax.sharding jax.stages jax.test_util jax.custom_derivatives
    jax.custom_batching jax.ad_checkpoint jax.ref jax.monitoring jax.export jax.distributed jax.extend jax.experimental
    jax.experimental.ode jax.experimental.jet jax.experimental.checkify jax.experimental.sparse
    jax.experimental.multihost_utils jax.experimental.mesh_utils jax.experimental.layout jax.experimental.rnn
    jax.example_libraries.stax jax.example_libraries.optimizers""".split()
OWN_ONLY = ("jax.experimental.", "jax.example_libraries.")     # these do not hide what they import


def is_public(namespace: str, name: str, value: object) -> bool:
    if name.startswith("_") or name.endswith("_p"):
        return False
    if isinstance(value, types.ModuleType):
        return value.__name__.startswith(namespace + "." if namespace.startswith(OWN_ONLY) else "jax.")
    if namespace.startswith(OWN_ONLY):
        home = getattr(value, "__module__", "")
        return home in (namespace, namespace.replace("jax.experimental.", "jax._src.")) or home.startswith(namespace + ".")
    return True


def names_in(namespace: str) -> list[str]:
    module = importlib.import_module(namespace)
    found = []
    for name in dir(module):
        try:
            value = getattr(module, name)
        except AttributeError:
            continue  # removed names that raise when they are asked for
        if is_public(namespace, name, value):
            found.append(name)
    return found


def collect() -> dict[str, object]:
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for namespace in NAMESPACES:
            if namespace.endswith(".*"):
                parent = namespace.removesuffix(".*")
                of_parent = vars(importlib.import_module(parent))
                children = [n for n, v in of_parent.items() if isinstance(v, types.ModuleType) and not n.startswith("_")]
                names |= {f"{parent}.{child}": names_in(f"{parent}.{child}") for child in sorted(children)}
            else:
                names[namespace] = names_in(namespace)
    return {"version": importlib.import_module("jax").__version__, "names": names}


if __name__ == "__main__":
    PATH.write_text(json.dumps(collect(), indent=0) + "\n")
    sys.exit(0)
