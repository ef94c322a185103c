"""Convolutions by cuDNN: a plan per shapes and window, run on addresses.

Written from the documentation of cudnn-frontend 1.32 and checked against its signatures; it has not run on a GPU.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cudnn
import numpy as np

from tracejit.codegen.cuda.interface import ConvWindow, View
from tracejit.ir.types import bfloat16
from tracejit.runtime.cuda.cublaslt import alignment_of, strides_of

DATA = {np.dtype("float32"): cudnn.data_type.FLOAT, np.dtype("float16"): cudnn.data_type.HALF, bfloat16: cudnn.data_type.BFLOAT16}

# What an algorithm may do, by cuDNN's name, that no result here may depend on; and what changes the bits of float32 products.
NEVER = (cudnn.numerical_note.NONDETERMINISTIC, cudnn.numerical_note.REDUCED_PRECISION_REDUCTION)
APPROXIMATE = (cudnn.numerical_note.TENSOR_CORE, cudnn.numerical_note.DOWN_CONVERT_INPUTS, cudnn.numerical_note.FFT,
               cudnn.numerical_note.WINOGRAD, cudnn.numerical_note.WINOGRAD_TILE_4x4, cudnn.numerical_note.WINOGRAD_TILE_6x6,
               cudnn.numerical_note.WINOGRAD_TILE_13x13)
ALIGNED = 16        # bytes that cuDNN takes an operand to be aligned to, unless it is told


def two_dimensional(view: View) -> tuple[list[int], list[int]]:
    """Sizes and steps, with a last axis of one element where there is one spatial axis."""
    dims, steps = list(view.shape), list(strides_of(view))
    return (dims, steps) if len(dims) == 4 else ([*dims, 1], [*steps, 1])


class Convolutions:
    """The plans of one device; None for a convolution that the library refused."""

    def __init__(self, allocate: Callable[..., Any]) -> None:
        self.handle, self.allocate = cudnn.create_handle(), allocate
        self.plans: dict[Any, tuple[Any, Any, list[Any]] | None] = {}

    @staticmethod
    def can(x: View, w: View, out: View, window: ConvWindow) -> bool:
        """Whether cuDNN has this convolution: one or two spatial axes, no holes in x, no negative padding."""
        return (x.dtype == w.dtype == out.dtype and x.dtype in DATA and len(window.strides) in (1, 2) and window.batch_groups == 1
                and all(d == 1 for d in window.x_dilation) and all(min(p) >= 0 for p in window.padding)
                and 0 not in (*x.shape, *w.shape, *out.shape))

    def plan(self, tried: Callable[..., Any], x: View, w: View, out: View, window: ConvWindow,
             precision: str) -> Callable[..., None] | None:
        """A function of x, w, out and the stream; None where the library does not have this convolution."""
        if not self.can(x, w, out, window):
            return None
        if min(alignment_of(v.address) for v in (x, w, out)) < ALIGNED:
            return None
        key = (*[(v.shape, v.strides, v.dtype) for v in (x, w, out)], window, precision)
        if key not in self.plans:
            self.plans[key] = tried(lambda: self.built(x, w, out, window, precision))
        made = self.plans[key]
        return None if made is None else functools.partial(self.run, *made)

    def run(self, graph: Any, workspace: Any, tensors: list[Any], x: View, w: View, out: View, stream: int) -> None:
        cudnn.set_stream(handle=self.handle, stream=stream)
        addresses = {tensor: view.address for tensor, view in zip(tensors, (x, w, out))}
        graph.execute(addresses, workspace.address, handle=self.handle)

    def built(self, x: View, w: View, out: View, window: ConvWindow, precision: str) -> tuple[Any, Any, list[Any]]:
        """(graph, workspace, its tensors x, w, out)."""
        data, more = DATA[x.dtype], 2 - len(window.strides)
        graph = cudnn.pygraph(io_data_type=data, intermediate_data_type=cudnn.data_type.FLOAT,
                              compute_data_type=cudnn.data_type.FLOAT, handle=self.handle)
        ins = [graph.tensor(name=name, dim=dims, stride=steps, data_type=data)
               for name, (dims, steps) in (("x", two_dimensional(x)), ("w", two_dimensional(w)))]
        low, high = [p[0] for p in window.padding] + [0] * more, [p[1] for p in window.padding] + [0] * more
        result = graph.conv_fprop(image=ins[0], weight=ins[1], pre_padding=low, post_padding=high,
                                  stride=[*window.strides, *[1] * more], dilation=[*window.w_dilation, *[1] * more])
        dims, steps = two_dimensional(out)
        result.set_output(True).set_dim(dims).set_stride(steps).set_data_type(data)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A])
        is_exact = x.dtype == np.float32 and precision == "float32"     # tensor cores round its operands to 10 bits
        graph.deselect_numeric_notes([*NEVER, *(APPROXIMATE if is_exact else ())])
        graph.check_support()
        graph.build_plans()
        return graph, self.allocate(max(graph.get_workspace_size(), 1), "workspace of a convolution"), [*ins, result]
