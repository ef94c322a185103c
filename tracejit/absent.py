"""A name of JAX's API that tracejit leaves out -> why, and what to use instead."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

API_VERSION = "0.10.2"  # the JAX whose public API tracejit follows

PRIMITIVE = "primitives are classes here (docs/ops.md); give a function a derivative with custom_jvp or custom_vjp"
XLA = "there is no XLA, MLIR or StableHLO in tracejit; jit(f).lower(...).as_text() shows its own program text"
HOSTS = "tracejit runs in one process"
PARTITION = "there is one device, nothing is partitioned"
INTERNAL = "it is internal to JAX"
FFI = "call foreign code with pure_callback or io_callback"

# The longest entry that a name starts with counts.
REASONS = {
    "jax._src": "private modules of JAX are not imitated",
    "jax.ad": INTERNAL, "jax.api_util": INTERNAL, "jax.lib": INTERNAL, "jax.interpreters": PRIMITIVE,
    "jax.interpreters.mlir": XLA, "jax.interpreters.xla": XLA, "jax.extend": INTERNAL, "jax.ffi": FFI,
    "jax.experimental.buffer_callback": FFI, "jax.experimental.multihost_utils": HOSTS,
    "jax.experimental.colocated_python": HOSTS, "jax.distributed": HOSTS, "jax.experimental.custom_partitioning": PARTITION,
    "jax.experimental.layout": "arrays are dense and row-major", "jax.experimental.pallas": "write the function with numpy: "
    "elementwise work, reductions and what follows a product are fused into one kernel by the compiler",
    "jax.experimental.jax2tf": XLA, "jax.experimental.hijax": INTERNAL, "jax.experimental.EArray": INTERNAL,
    "jax.experimental.rnn": "write the cell and use lax.scan: the loop is compiled into one program",
    "jax.lax.precv": HOSTS, "jax.lax.psend": HOSTS,
    "jax.lax.create_token": "operations run in program order, no tokens are passed",
    "jax.lax.after_all": "operations run in program order, no tokens are passed",
    "jax.lax.dce_sink": "use debug.callback, which is never removed",
    "jax.lax.stage": PARTITION, "jax.lax.scaled_dot": "multiply by the scales",
    "jax.jax2tf_associative_scan_reductions": XLA,
    "jax.nn.get_scaled_dot_general_config": "there is no product of scaled blocks; multiply by the scales",
    "jax.core.Trace": INTERNAL, "jax.core.eval_context": INTERNAL, "jax.core.max_dim": INTERNAL,
    "jax.core.min_dim": INTERNAL, "jax.core.ParamDict": INTERNAL, "jax.core.Atom": INTERNAL,
    "jax.make_user_context": INTERNAL,

    "jax.sharding.auto_axes": PARTITION, "jax.sharding.explicit_axes": PARTITION, "jax.sharding.AbstractDevice": PARTITION,
    "jax.sharding.ManualAxisType": PARTITION,
    "jax.debug.log": "use debug.callback with Python's logging", "jax.debug.DebugEffect": INTERNAL,
    "jax.debug.OrderedDebugEffect": INTERNAL,
    "jax.profiler": "start_trace writes a file for Perfetto: there is no server, no XPlane and no memory profile",
    "jax.experimental.ode": INTERNAL, "jax.experimental.jet": INTERNAL, "jax.experimental.cur_qdd": INTERNAL,
    "jax.experimental.primal_tangent_dtype": INTERNAL,
    "jax.experimental.sparse.bcoo_conv_general_dilated": "use todense() and lax.conv_general_dilated",
    "jax.experimental.sparse.SparseTracer": INTERNAL, "jax.experimental.sparse.ad": INTERNAL,
    "jax.experimental.sparse.api": INTERNAL, "jax.experimental.sparse.coo": INTERNAL, "jax.experimental.sparse.csr": INTERNAL,
    "jax.experimental.sparse.transform": INTERNAL, "jax.experimental.sparse.util": INTERNAL,
    "jax.experimental.sparse.linalg.lobpcg_standard": "use jnp.linalg.eigh",
    "jax.export": XLA,
    "jax.errors": "errors.TracejitError is the base of all errors", "jax.stages": INTERNAL, "jax.dlpack": INTERNAL,
    "jax.custom_derivatives": "use custom_jvp, custom_vjp, lax.custom_linear_solve", "jax.ad_checkpoint":
    "use checkpoint_policies; tools.explain shows what is kept",
    "jax.debug.breakpoint": "use tracejit.disable_jit() and Python's own breakpoint()",
}

def instead(name: str) -> str:
    """The message for a name that is not here, such as 'jax.lax.add_p'."""
    parts = name.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    reason = next((REASONS[p] for p in prefixes if p in REASONS), None)
    if reason is None and name.endswith("_p"):
        reason = PRIMITIVE
    own = "tracejit" + name.removeprefix("jax")
    return f"{own} does not exist" + (f": JAX has {name}, tracejit leaves it out: {reason}" if reason else "")

def getter(module: str) -> Callable[[str], Any]:
    """A module's `__getattr__`: an AttributeError that says what to use instead.

    >>> import tracejit.lax
    >>> tracejit.lax.infeed_p
    Traceback (most recent call last):
    AttributeError: tracejit.lax.infeed_p does not exist: JAX has jax.lax.infeed_p, tracejit leaves it out: primitives are \
classes here (docs/ops.md); give a function a derivative with custom_jvp or custom_vjp
    """
    def get(name: str) -> Any:
        raise AttributeError(instead("jax" + module.removeprefix("tracejit") + "." + name))
    return get
