"""Every call into CuPy, cuda.core, cuBLASLt and cuDNN, looked up in the packages that are installed: it exists, and takes what it is given.

None of this needs a GPU; a package that is not installed is left out.
"""
from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from tracejit.ir.types import bfloat16

CUPY = {    # what is used -> its parameters, as they are given
    "cuda.runtime.memcpyAsync": "dst src size kind stream", "cuda.runtime.memsetAsync": "ptr value size stream",
    "cuda.runtime.getDeviceProperties": "device", "cuda.runtime.deviceSynchronize": "", "cuda.runtime.memGetInfo": "",
    "cuda.runtime.getDeviceCount": "", "cuda.MemoryPool.malloc": "self size", "cuda.MemoryPool.total_bytes": "self",
    "cuda.alloc_pinned_memory": "size", "cuda.UnownedMemory": "ptr size owner device_id", "cuda.MemoryPointer": "mem offset",
    "cuda.Stream.synchronize": "self", "cuda.Stream.record": "self event", "cuda.Event.synchronize": "self",
    "cuda.Stream.begin_capture": "self mode", "cuda.Stream.end_capture": "self", "cuda.Graph.launch": "self stream",
    "from_dlpack": "array device copy", "argsort": "a axis kind", "take_along_axis": "a indices axis", "where": "condition x y",
    "fft.fftn": "a s axes norm", "fft.ifftn": "a s axes norm", "fft.rfftn": "a s axes norm", "fft.irfftn": "a s axes norm",
    "linalg.cholesky": "a", "linalg.qr": "a mode", "linalg.eigh": "a UPLO", "linalg.svd": "a full_matrices compute_uv",
    "linalg._decomposition._lu_factor": "a_t dtype", "empty": "shape dtype", "swapaxes": "a axis1 axis2",
    "tensordot": "a b axes", "moveaxis": "a source destination", "lib.stride_tricks.as_strided": "x shape strides",
    "ascontiguousarray": "a dtype", "zeros": "shape dtype order"}
PRESENT = ("cuda.Device", "cuda.using_allocator", "cuda.memory.OutOfMemoryError", "cuda.runtime.CUDARuntimeError",
           "cuda.runtime.memcpyHostToDevice", "cuda.runtime.memcpyDeviceToHost", "cuda.runtime.memcpyDeviceToDevice", "cuda.Event.done",
           "matmul", "tanh", "maximum", "isnan", "ndarray.__dlpack__", "cuda.pinned_memory.PinnedMemoryPointer.mem")
CORE = {"launch": "stream config kernel kernel_args", "LaunchConfig": "grid cluster block", "Stream.from_handle": "handle",
        "ObjectCode.from_cubin": "module name", "ObjectCode.from_ptx": "module name", "ObjectCode.get_kernel": "self name",
        "Linker.link": "self target_type", "Linker.get_info_log": "self", "Linker.get_error_log": "self", "Device.set_current": "self"}


def found_in(module, path: str):
    for name in path.split("."):
        module = getattr(module, name)
    return module


def parameters(thing) -> list[str]:
    """Names of the parameters, by the signature or by what Cython writes at the head of a docstring."""
    try:
        return [name for name in inspect.signature(thing).parameters]
    except (TypeError, ValueError):
        head = re.search(r"\((.*?)\)", thing.__doc__ or "")
    words = [p.split("=")[0].split(":")[0].split() for p in head[1].split(",")] if head else []
    return [word[-1].lstrip("*") for word in words if word and word[-1] != "*"]


@pytest.mark.parametrize("path", CUPY)
def test_cupy_takes_what_it_is_given(path):
    given, taken = CUPY[path].split(), parameters(found_in(pytest.importorskip("cupy"), path))
    assert taken[:len(given)] == given


@pytest.mark.parametrize("path", PRESENT)
def test_cupy_has(path):
    found_in(pytest.importorskip("cupy"), path)


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f4", "c16", bfloat16], ids=str)
@pytest.mark.parametrize("shape,strides", [((2, 3), None), ((), None), ((0, 3), None), ((3, 2), (1, 3)), ((2, 3), (0, 1))], ids=str)
def test_views_become_arrays_of_cupy(shape, strides, dtype):
    """Their making needs no driver: memory that it does not own is not looked at."""
    cupy = pytest.importorskip("cupy")
    dtype = np.dtype(dtype)
    steps = None if strides is None else tuple(s * dtype.itemsize for s in strides)
    memory = cupy.cuda.UnownedMemory(0x5000, 1000, None, 0)
    x = cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0), steps)
    assert (x.shape, x.dtype, x.data.ptr) == (shape, dtype, 0x5000)
    assert x.size == 0 or steps is None or x.strides == steps


def test_solvers_of_cupyx_take_what_they_are_given():
    """Read from the file, since importing it needs the libraries themselves."""
    root = pytest.importorskip("cupyx").__path__[0]
    for file, head in (("_solve_triangular", "solve_triangular(a, b, trans=0, lower=False, unit_diagonal=False,"),
                       ("_decomp_lu", "lu_factor(a, overwrite_a=False, check_finite=True)")):
        assert head in Path(root, "scipy", "linalg", file + ".py").read_text()


def test_pinned_memory_is_a_buffer_with_an_address_and_a_size():
    pinned = pytest.importorskip("cupy").cuda.pinned_memory.PinnedMemoryPointer
    assert all(hasattr(pinned, name) for name in ("ptr", "mem", "size"))


def test_errors_of_factorizations_are_asked_for():
    cupyx = pytest.importorskip("cupyx")
    assert "linalg" in inspect.signature(cupyx.errstate).parameters


@pytest.mark.parametrize("path", CORE)
def test_cuda_core_takes_what_it_is_given(path):
    given, taken = CORE[path].split(), parameters(found_in(pytest.importorskip("cuda.core"), path))
    assert [name for name in taken if name in given] == given or not taken


def test_launches_are_refused_as_they_are_emulated():
    core = pytest.importorskip("cuda.core")
    assert core.LaunchConfig(grid=(3,), block=(32,)).grid == (3, 1, 1)
    with pytest.raises(ValueError):
        core.LaunchConfig(grid=(0,), block=(32,))


# --- cuBLASLt: see also test_libraries.py

def test_the_heuristics_answer_is_read_where_it_is():
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    found = np.zeros(1, lt.matmul_heuristic_result_dtype)
    assert found["algo"].ctypes.data == found.ctypes.data and found["algo"].nbytes == 64 and found["state"].dtype == np.int32
    assert {lt.Epilogue.DEFAULT: 1, lt.Epilogue.RELU: 2, lt.Epilogue.BIAS: 4, lt.Epilogue.RELU_BIAS: 6}


# --- cuDNN

def test_cudnn_takes_what_it_is_given():
    cudnn = pytest.importorskip("cudnn")
    graph = cudnn.pygraph
    wanted = {graph: "io_data_type intermediate_data_type compute_data_type handle", graph.tensor: "name dim stride data_type",
              graph.execute: "tensor_dict workspace handle", graph.create_execution_plans: "heuristics",
              graph.deselect_numeric_notes: "notes", cudnn.set_stream: "handle stream", graph.get_workspace_size: "",
              cudnn.create_handle: "", graph.validate: "", graph.build_operation_graph: "", graph.check_support: "", graph.build_plans: ""}
    for thing, names in wanted.items():
        assert set(names.split()) <= set(inspect.signature(thing).parameters), thing
    assert {"FLOAT", "HALF", "BFLOAT16"} <= set(cudnn.data_type.__members__) and "A" in cudnn.heur_mode.__members__


def test_a_convolution_is_described_as_cudnn_wants_it():
    """As far as it goes without a device: the graph, its sizes and steps."""
    cudnn = pytest.importorskip("cudnn")
    module = importlib.import_module("tracejit.runtime.cuda.cudnn")
    assert set(module.NEVER) | set(module.APPROXIMATE) <= set(cudnn.numerical_note.__members__.values())
    graph = cudnn.pygraph(io_data_type=cudnn.data_type.FLOAT, intermediate_data_type=cudnn.data_type.FLOAT,
                          compute_data_type=cudnn.data_type.FLOAT)
    x = graph.tensor(name="x", dim=[2, 3, 8, 1], stride=[24, 8, 1, 1], data_type=cudnn.data_type.FLOAT)
    w = graph.tensor(name="w", dim=[4, 3, 3, 1], stride=[9, 3, 1, 1], data_type=cudnn.data_type.FLOAT)
    y = graph.conv_fprop(image=x, weight=w, pre_padding=[1, 0], post_padding=[2, 0], stride=[1, 1], dilation=[1, 1])
    y.set_output(True).set_dim([2, 4, 9, 1]).set_stride([36, 9, 1, 1]).set_data_type(cudnn.data_type.FLOAT)
    assert hash(y) is not None and y.get_dim() == [2, 4, 9, 1]
