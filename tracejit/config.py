"""Setting names -> values: one typed table, `TRACEJIT_*` variables, global updates, thread-local overrides.

    config.update("jax_enable_x64", True)       # for every thread; the `jax_` prefix is optional
    with config.setting(debug_nans=True): ...   # for this thread, inside the block
    config.enable_x64                           # what holds here and now
"""
from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Parser = Callable[[Any], Any]

TRUE, FALSE, UNSET = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}, {"", "none", "unset"}


def flag(value: Any) -> bool:
    """True or False from a bool, 0/1, or the usual words of an environment variable."""
    word = str(value).strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise ValueError(f"expected a boolean, got {value!r}")


def optional(parse: Parser) -> Parser:
    """`parse`, but None (or an empty variable) means that the setting is not set."""
    def parse_or_none(value: Any) -> Any:
        unset = value is None or isinstance(value, str) and value.strip().lower() in UNSET
        return None if unset else parse(value)
    return parse_or_none


def one_of(*words: Any) -> Parser:
    """The value itself, if it is among `words`."""
    def parse(value: Any) -> Any:
        if value in words:
            return value
        raise ValueError(f"expected one of {', '.join(map(repr, words))}, got {value!r}")
    return parse


def anything(value: Any) -> Any:
    """The value itself."""
    return value


def integer(low: int, high: int | None = None) -> Parser:
    """An int within [low, high]."""
    def parse(value: Any) -> int:
        number = int(value)
        if number < low or (high is not None and number > high):
            raise ValueError(f"expected an integer in [{low}, {'...' if high is None else high}], got {value!r}")
        return number
    return parse


def place(value: Any) -> Any:
    """A device, or the name of a platform."""
    if getattr(value, "platform", value) in ("cpu", "gpu", "cuda"):
        return value
    raise ValueError(f"expected a device, 'cpu' or 'gpu', got {value!r}")


@dataclass(frozen=True)
class Setting:
    """One row of the table; `in_cache_key` says that compiled code may differ with the value."""
    name: str
    default: Any
    parse: Parser
    in_cache_key: bool
    doc: str

    @property
    def env(self) -> str:
        return "TRACEJIT_" + self.name.upper()

    def parsed(self, value: Any, origin: str) -> Any:
        try:
            return self.parse(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{origin}: {error}") from None

    def initial(self, environ: Mapping[str, str]) -> Any:
        return self.parsed(environ[self.env], self.env) if self.env in environ else self.default


GUARDS = one_of("allow", "log", "disallow", "log_explicit", "disallow_explicit")
PRECISIONS = one_of("default", "high", "highest", "bfloat16", "bfloat16_3x", "tensorfloat32", "float32",
                    "fastest", 0, 1, 2)

SETTINGS: tuple[Setting, ...] = (
    # what a program means
    Setting("enable_x64", None, optional(flag), True,
            "Unset: explicit 64-bit dtypes are kept, defaults are 32 bit. True: defaults are 64 bit. "
            "False: 64-bit inputs are truncated to 32 bit, as JAX does."),
    Setting("explicit_x64_dtypes", "warn", one_of("warn", "error"), True,
            "Where enable_x64 is False and a program names a 64-bit dtype: it is narrowed with a warning, or refused. "
            "Where enable_x64 is unset such dtypes are kept."),
    Setting("numpy_dtype_promotion", "standard", one_of("standard", "strict"), True,
            "strict: mixing different strong dtypes is an error."),
    Setting("numpy_rank_promotion", "allow", one_of("allow", "warn", "raise"), True,
            "What to do when arrays of different rank are broadcast together."),
    Setting("default_matmul_precision", None, optional(PRECISIONS), True,
            "Precision of products that do not name one; the CPU always computes in the operands' or better."),
    Setting("default_prng_impl", "threefry2x32", one_of("threefry2x32", "rbg", "unsafe_rbg"), True,
            "Bit generator behind random.key(seed)."),
    Setting("enable_custom_prng", False, flag, True,
            "random.PRNGKey returns a typed key, as random.key does, not raw uint32 words."),
    Setting("wrap_callback_errors", False, flag, False,
            "True: what a callback raises inside compiled code is the cause of a JaxRuntimeError, as in JAX."),
    Setting("threefry_partitionable", True, flag, True,
            "True: the random bits of current JAX, each element by itself; False: those of its old versions."),
    # what runs
    Setting("disable_jit", False, flag, True,
            "jit, scan, cond and while_loop run their Python functions step by step, for debugging."),
    Setting("debug_nans", False, flag, True, "An operation that makes a nan raises FloatingPointError."),
    Setting("debug_infs", False, flag, True, "An operation that makes an infinity raises FloatingPointError."),
    Setting("check", False, flag, True,
            "Verify the graph after each compiler stage and compare it with its meaning on random input."),
    Setting("inexact_rules", False, flag, True,
            "Allow rewrite rules that hold for real numbers but may change rounding, nan or -0.0."),
    Setting("isa", None, optional(one_of("native", "avx512", "avx2", "baseline")), True,
            "Instruction set to compile for, never wider than what this machine has; unset: all that it has."),
    Setting("threads", None, optional(integer(1)), False,
            "Threads that compiled code may use; unset: the CPUs of this process. Results never depend on it."),
    Setting("native_dispatch", True, flag, False,
            "Call compiled code through types built from native code; False: plain Python classes."),
    # the compiled-object cache
    Setting("enable_compilation_cache", True, flag, False, "Keep compiled objects on disk between processes."),
    Setting("compilation_cache_dir", None, optional(str), False,
            "Folder of the object cache; unset: tracejit in the user's cache folder."),
    Setting("compilation_cache_max_size", 1 << 30, integer(-1), False,
            "Bytes the object cache may hold before the oldest objects are removed; -1: no limit."),
    # what is told
    Setting("debug", 0, integer(0, 6), False,
            "1 a line per compilation, 2 kernel runs, 3 graph changes per stage, 4 kernels, 5 LLVM IR, 6 assembly."),
    Setting("log_compiles", False, flag, False, "Log a line for each compilation."),
    Setting("explain_cache_misses", False, flag, False, "Log why a call could not reuse a compiled function."),
    Setting("debug_key_reuse", False, flag, False, "Accepted: keys are not followed; split a key before it is used again."),
    Setting("check_tracer_leaks", False, flag, False,
            "A traced value that outlives its function raises when the function has been traced; otherwise only where it is used."),
    Setting("traceback_filtering", "auto",
            one_of("auto", "on", "off", "tracebackhide", "remove_frames", "quiet_remove_frames"), False,
            "off: tracebacks also show the frames inside tracejit."),
    # where it runs
    Setting("emulate_cuda", 0, integer(0), False,
            "Number of CUDA devices that are emulated: compiled kernels run in an interpreter on NumPy, for tests."),
    Setting("device_memory_limit", None, optional(integer(0)), False,
            "Bytes that arrays and scratch memory of a GPU may take together; unset: all that the device has."),
    Setting("transfer_guard", None, optional(GUARDS), False,
            "What to do on a copy between host and GPU that the program does not spell out (or, _explicit, on any)."),
    Setting("transfer_guard_host_to_device", None, optional(GUARDS), False, "As transfer_guard, for copies to a GPU."),
    Setting("transfer_guard_device_to_host", None, optional(GUARDS), False, "As transfer_guard, for copies from a GPU."),
    Setting("transfer_guard_device_to_device", None, optional(GUARDS), False,
            "Accepted: a copy between GPUs goes by way of the host, and is two copies to the other guards."),
    Setting("default_device", None, optional(place), True,
            "Where new arrays are made, and programs run that have no arrays elsewhere: a device or a platform; unset: the CPU."),
    Setting("platforms", None, optional(one_of("cpu")), False, "Platforms to offer first; the only one is cpu."),
    Setting("platform_name", None, optional(one_of("cpu")), False,
            "Platform of the default device: cpu, unless default_device says otherwise."),
    # JAX's switches for what has one answer here
    Setting("legacy_prng_key", "allow", one_of("allow", "warn", "error"), True,
            "What to do when random functions are given raw keys."),
    Setting("no_tracing", False, flag, False, "Tracing a function for jit raises RuntimeError: every call must find its program."),
    Setting("no_execution", False, flag, True, "Running a compiled program raises RuntimeError."),
    Setting("softmax_custom_jvp", True, one_of(True), False, "Accepted: nn.softmax has a derivative of its own."),
    Setting("allow_f16_reductions", False, one_of(False), False, "Accepted: sums of 16-bit floats are made in float32."),
    Setting("thread_guard", False, flag, False, "Accepted: it is about operations of several processes, of which there are none."),
    Setting("array_garbage_collection_guard", None, optional(one_of("allow")), False,
            "Accepted: arrays in cycles are freed as usual."),
    Setting("auto_pcast", True, flag, False, "Accepted: values do not vary over a mesh, so nothing is cast."),
    Setting("remove_size_one_mesh_axis_from_type", False, flag, False, "Accepted: types name no mesh axes."),
    Setting("num_cpu_devices", -1, one_of(-1, 1), False, "Accepted: there is one CPU device."),
    Setting("random_seed_offset", 0, one_of(0), False, "Accepted: seeds are taken as they are."),
    Setting("high_dynamic_range_gumbel", False, one_of(False), False, "Accepted: random.gumbel has the bits of JAX's default."),
)

# JAX's switches for XLA, caches, drivers, processes and dumps: programs set them, nothing here depends on them.
WITHOUT_EFFECT: dict[str, Any] = {
    **dict.fromkeys("""backend_target check_proxy_envs cpu_enable_async_dispatch cuda_visible_devices disable_most_optimizations
        dump_ir_modes dump_ir_to hlo_source_file_canonicalization_regex include_debug_info_in_dumps mock_gpu_topology
        mock_num_gpu_processes oneapi_visible_devices pjrt_client_create_options rocm_visible_devices sort_devices_by_process_index
        source_url_schema tracer_error_num_traceback_frames xla_backend""".split()),
    **dict.fromkeys("""bcoo_cusparse_lowering captured_constants_report_frames compilation_cache_check_contents
        compilation_cache_expect_pgle compilation_cache_include_metadata_in_key distributed_debug enable_pgle enable_recoverability
        log_checkpoint_residuals raise_persistent_cache_errors remove_custom_partitioning_ptr_from_cache_key
        share_binary_between_hosts threefry_gpu_kernel_lowering""".split(), False),
    **dict.fromkeys("""compiler_enable_remat_pass enable_preemption_service include_full_tracebacks_in_locations
        mutable_array_checks pprint_use_color use_direct_linearize use_shardy_partitioner""".split(), True),
    "captured_constants_warn_bytes": 2_000_000_000, "cpu_collectives_implementation": "gloo", "debug_log_modules": "",
    "exec_time_optimization_effort": 0.0, "logging_level": "NOTSET", "memory_fitting_effort": 0.0, "memory_fitting_level": "O2",
    "optimization_level": "UNKNOWN", "persistent_cache_enable_xla_caches": "xla_gpu_per_fusion_autotune_cache_dir",
    "persistent_cache_min_compile_time_secs": 1.0, "persistent_cache_min_entry_size_bytes": 0, "pgle_aggregation_percentile": 90,
    "pgle_profiling_runs": 3, "traceback_in_locations_limit": 100, "use_magma": "auto", "xla_profile_version": 0}
ALIASES = {"enable_checks": "check"}    # JAX's names for settings that are called otherwise here


class Thread(threading.local):
    """What one thread sees: the global values under its own overrides, merged when either changes."""

    def __init__(self) -> None:
        self.overrides: dict[str, Any] = {}
        self.epoch = -1
        self.values: dict[str, Any] = {}
        self.key: tuple[Any, ...] = ()


class Config:
    """The settings: read as attributes, changed by `update` or, for a block, by `setting`.

    >>> config.update("jax_debug", 0)
    >>> with config.setting(numpy_rank_promotion="raise"):
    ...     config.numpy_rank_promotion
    'raise'
    >>> config.numpy_rank_promotion
    'allow'
    """

    def __init__(self, settings: tuple[Setting, ...] = SETTINGS, environ: Mapping[str, str] = os.environ) -> None:
        self.settings = {s.name: s for s in (*settings, *[Setting(*row, anything, False, "") for row in WITHOUT_EFFECT.items()])}
        self.keyed = tuple(s.name for s in settings if s.in_cache_key)
        self.shared = {s.name: s.initial(environ) for s in self.settings.values()}
        self.epoch = 0
        self.thread = Thread()
        self.keys: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.listeners: list[Callable[[], None]] = []
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.here().values[name]
        except KeyError:
            return self.here().values[self.canonical(name)]

    def __setattr__(self, name: str, value: Any) -> None:
        if "lock" in self.__dict__ and name not in self.__dict__:
            raise AttributeError(f"config.{name} cannot be assigned; use config.update({name!r}, {value!r})")
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.settings]

    @property
    def x64_enabled(self) -> bool:
        """JAX's older name for enable_x64."""
        return bool(self.enable_x64)

    @property
    def values(self) -> dict[str, Any]:
        """All settings with their values here, by the names that JAX has for them.

        >>> config.values["jax_default_matmul_precision"] is config.default_matmul_precision
        True
        """
        return {f"jax_{name}": value for name, value in self.here().values.items()}

    def parse_flags_with_absl(self, argv: Sequence[str] = sys.argv) -> None:
        """Take settings from the command line, as programs made with absl do: `--jax_debug_nans`, `--jax_enable_x64=true`."""
        for word in argv[1:]:
            name, _, value = word.removeprefix("--").partition("=")
            if word.startswith("--jax_") and name.removeprefix("jax_") in self.settings:
                self.update(name, value or True)

    config_with_absl = parse_flags_with_absl

    def here(self) -> Thread:
        thread = self.thread
        if thread.epoch != self.epoch:
            self.merge(thread)
        return thread

    def merge(self, thread: Thread) -> None:
        thread.epoch = self.epoch
        thread.values = self.shared | thread.overrides
        key = tuple([thread.values[name] for name in self.keyed])
        thread.key = self.keys.setdefault(key, key)

    def canonical(self, name: str) -> str:
        short = name.removeprefix("jax_")
        short = ALIASES.get(short, short)
        if short in self.settings:
            return short
        import difflib  # seldom needed, and not quick to load
        close = difflib.get_close_matches(short, self.settings, n=3)
        raise AttributeError(f"no setting is called {name!r}" + (f"; close: {', '.join(close)}" if close else ""))

    def parsed(self, name: str, value: Any) -> tuple[str, Any]:
        short = self.canonical(name)
        return short, self.settings[short].parsed(value, f"setting {name}")

    def read(self, name: str) -> Any:
        """The value of a setting given by name, with or without the `jax_` prefix."""
        return getattr(self, name)

    def update(self, name: str, value: Any) -> None:
        """Set `name` for all threads; AttributeError for an unknown name, ValueError for a bad value."""
        short, value = self.parsed(name, value)
        with self.lock:
            self.shared = self.shared | {short: value}
            self.epoch += 1
        self.tell()

    @contextlib.contextmanager
    def setting(self, **values: Any) -> Iterator[None]:
        """Override settings for this thread inside a `with` block (or a decorated function)."""
        overrides = dict(self.parsed(name, value) for name, value in values.items())
        thread = self.thread
        before = thread.overrides
        self.override(thread, before | overrides)
        try:
            yield
        finally:
            self.override(thread, before)

    def override(self, thread: Thread, overrides: dict[str, Any]) -> None:
        thread.overrides = overrides
        self.merge(thread)
        self.tell()

    def tell(self) -> None:
        for listener in self.listeners:
            listener()

    def key(self) -> tuple[Any, ...]:
        """The values that compiled code depends on; equal values give the identical tuple."""
        thread = self.thread
        return thread.key if thread.epoch == self.epoch else self.here().key

    def describe(self) -> str:
        """A Markdown table of every setting, its variable, default and meaning."""
        rows = ["| setting | variable | default | in cache key | meaning |", "|---|---|---|---|---|"]
        rows += [f"| `{s.name}` | `{s.env}` | `{s.default!r}` | {'yes' if s.in_cache_key else 'no'} | {s.doc} |"
                 for s in self.settings.values() if s.doc]
        accepted = ", ".join(f"`{name}`" for name in sorted(WITHOUT_EFFECT))
        return "\n".join([*rows, "", f"Accepted, for programs that set them, and without effect: {accepted}."])


config = Config()


def block(name: str, default: Any = ...) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """A function that overrides one setting inside a `with` block: `with debug_nans(True): ...`."""
    def override(new_val: Any = default) -> contextlib.AbstractContextManager[None]:
        if new_val is ...:
            raise TypeError(f"{name}() needs a value, as in `with {name}(value): ...`")
        return config.setting(**{name: new_val})
    override.__name__ = override.__qualname__ = name
    override.__doc__ = f"Inside a `with` block, for this thread. {config.settings[name].doc}"
    return override


enable_x64 = block("enable_x64", True)
debug_nans = block("debug_nans", True)
debug_infs = block("debug_infs", True)
log_compiles = block("log_compiles", True)
explain_cache_misses = block("explain_cache_misses", True)
enable_custom_prng = block("enable_custom_prng", True)
threefry_partitionable = block("threefry_partitionable", True)
default_matmul_precision = block("default_matmul_precision")
default_device = block("default_device")
default_prng_impl = block("default_prng_impl")
numpy_rank_promotion = block("numpy_rank_promotion")
numpy_dtype_promotion = block("numpy_dtype_promotion")
transfer_guard = block("transfer_guard")
transfer_guard_host_to_device = block("transfer_guard_host_to_device")
transfer_guard_device_to_host = block("transfer_guard_device_to_host")
transfer_guard_device_to_device = block("transfer_guard_device_to_device")
legacy_prng_key = block("legacy_prng_key")
no_tracing = block("no_tracing", True)
no_execution = block("no_execution", True)
softmax_custom_jvp = block("softmax_custom_jvp", True)
allow_f16_reductions = block("allow_f16_reductions", False)
thread_guard = block("thread_guard", True)
array_garbage_collection_guard = block("array_garbage_collection_guard")
auto_pcast = block("auto_pcast", True)
remove_size_one_mesh_axis_from_type = block("remove_size_one_mesh_axis_from_type", True)
check_tracer_leaks = block("check_tracer_leaks", True)
debug_key_reuse = block("debug_key_reuse", True)
enable_checks = block("check", True)


def disable_jit(disable: bool = True) -> contextlib.AbstractContextManager[None]:
    """Inside a `with` block, for this thread: jitted functions run operation by operation, so Python's debugger sees values."""
    return config.setting(disable_jit=disable)


def checking_leaks() -> contextlib.AbstractContextManager[None]:
    """Inside a `with` block, for this thread: a traced value that outlives its function raises UnexpectedTracerError."""
    return check_tracer_leaks(True)


def disable_x64() -> contextlib.AbstractContextManager[None]:
    """Inside a `with` block, for this thread: 64-bit inputs are truncated to 32 bit."""
    return config.setting(enable_x64=False)
