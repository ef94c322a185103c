"""tracejit: JIT-compiled functional arrays with JAX's API: jit, grad, vmap, and a NumPy that compiles.

>>> import tracejit as tj, tracejit.numpy as jnp
>>> tj.grad(lambda x: jnp.sum(x ** 2))(jnp.arange(3.))
Array([0., 2., 4.], dtype=float32)
"""
import importlib as _importlib
import typing as _typing

from tracejit import errors as errors
from tracejit import lax as lax
from tracejit import lazy as _lazy
from tracejit import tree as tree
from tracejit import tree_util as tree_util
from tracejit.absent import getter as _getter
from tracejit.config import (allow_f16_reductions, array_garbage_collection_guard, auto_pcast, check_tracer_leaks,
                             checking_leaks, config, debug_infs, debug_key_reuse, debug_nans, default_device,
                             default_matmul_precision, default_prng_impl, disable_jit, disable_x64, enable_checks,
                             enable_custom_prng, enable_x64, explain_cache_misses, legacy_prng_key, log_compiles,
                             no_execution, no_tracing, numpy_dtype_promotion, numpy_rank_promotion,
                             remove_size_one_mesh_axis_from_type, softmax_custom_jvp, thread_guard,
                             threefry_partitionable, transfer_guard, transfer_guard_device_to_device,
                             transfer_guard_device_to_host, transfer_guard_host_to_device)
from tracejit.ir.types import FLOAT0 as float0
from tracejit.lax.callback import pure_callback as pure_callback
from tracejit.runtime.array import Array as Array
from tracejit.runtime.clear import clear_caches, live_arrays
from tracejit.runtime.device import (Device, default_backend, device_count, devices, local_devices, process_count,
                                     process_index, process_indices)
from tracejit.runtime.device import device_count as local_device_count
from tracejit.runtime.device import process_count as host_count
from tracejit.runtime.device import process_index as host_id
from tracejit.runtime.device import process_indices as host_ids
from tracejit.runtime.jit import jit as jit
from tracejit.runtime.transfer import block_until_ready, copy_to_host_async, device_get, device_put
from tracejit.transforms.checkpoint import checkpoint, checkpoint_policies, remat
from tracejit.transforms.custom import closure_convert, custom_gradient, custom_jvp, custom_vjp
from tracejit.transforms.derivatives import (grad, hessian, jacfwd, jacrev, jvp, linear_transpose, linearize,
                                             value_and_grad, vjp)
from tracejit.transforms.derivatives import jacrev as jacobian
from tracejit.transforms.inspect import (ShapeDtypeStruct, ensure_compile_time_eval, eval_shape, make_graph, make_jaxpr,
                                         named_call, named_scope, typeof)
from tracejit.transforms.vmap import vmap as vmap

__version__ = "0.1.0"

_absent = _getter(__name__)

# Where names come from that are loaded when they are first used.
_LAZY = {"Ref": "ref", "new_ref": "ref", "empty_ref": "ref", "free_ref": "ref", "freeze": "ref",
         "explain": "tools.explain", "pmap": "parallel", "shard_map": "parallel", "make_mesh": "sharding",
         "smap": "parallel", "Shard": "runtime.array_methods", "ds": "numpy.dslice",
         "NamedSharding": "sharding", "P": "sharding", "install_as_jax": "as_jax", "reshard": "sharding",
         "set_mesh": "sharding", "fwd_and_bwd": "forward_backward", "make_array_from_callback": "placement",
         "make_array_from_single_device_arrays": "placement",
         "make_array_from_process_local_data": "placement", "print_environment_info": "tools.doctor"}
_MODULES = {"ad_checkpoint", "api_util", "core", "custom_batching", "custom_derivatives", "debug", "distributed", "dlpack",
            "dtypes", "example_libraries", "experimental", "export", "extend", "flatten_util", "image", "interpreters",
            "memory", "monitoring", "nn", "numpy", "ops", "parallel", "profiler", "random", "ref", "scipy", "sharding",
            "stages", "test_util", "tools", "traceback_util", "typing", "version"}


def __getattr__(name: str) -> _typing.Any:
    if name in _LAZY:
        return getattr(_importlib.import_module(f"tracejit.{_LAZY[name]}"), name)
    if name in _MODULES:
        return _importlib.import_module(f"tracejit.{name}")
    return _absent(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})


def effects_barrier() -> None:
    """Wait for callbacks to finish: they have when a call returns."""
