"""Products whose result an elementwise kernel reads -> products that run the kernel on each block of it, while it is in the
cache: relu(x @ w + b) is one pass."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tracejit.codegen.kernels import Kernel, total_cost
from tracejit.codegen.schedule import collapse, substituted
from tracejit.codegen.steps import KernelStep, NativeStep, Program, Step
from tracejit.ir.graph import Eqn, Var
from tracejit.ir.loops import Axis, Dynamic, Index, Quotient, Remainder, linear

DEAREST = 4     # additions per multiply-add of the product: beyond, the kernel's own tasks share the work better


class Blocks(NamedTuple):
    """How a back end computes a product: the row pitch of its result, and how many terms each element sums."""
    pitch: int
    depth: int


BlocksOf = Callable[[Eqn], Blocks | None]   # None if the back end cannot run an epilogue


Takes = Callable[[Kernel, Var], bool]       # whether a back end runs this kernel as the epilogue of that product


def attach_epilogues(program: Program, blocks_of: BlocksOf, donated: Iterable[Var], takes: Takes) -> None:
    donated, results = set(donated), {program.home(r) for r in program.graph.results if isinstance(r, Var)}
    readers: dict[Var, list[Step]] = {}
    for step in program.steps:
        for v in dict.fromkeys(map(program.home, step.reads)):
            readers.setdefault(v, []).append(step)
    place: dict[Step, Step | None] = {}     # what runs where a step ran
    for product in program.steps:
        blocks = blocks_of(product.eqn) if isinstance(product, NativeStep) else None
        found = readers.get(product.eqn.outputs[0], ()) if blocks is not None else ()
        if not found or not isinstance(found[0], KernelStep):
            continue
        reader, out = found[0], product.eqn.outputs[0]
        kernel = blockwise(reader.kernel, out, blocks)
        if kernel is not None and takes(kernel, out):
            fuse_steps(program, product, reader, kernel)
            place |= {product: None, reader: product}
            for v in dict.fromkeys(map(program.home, reader.reads)):
                readers[v] = list(dict.fromkeys(product if s is reader else s for s in readers[v]))
            if len(found) == 1 and out not in results:
                share_memory(program, out, product, donated)
    program.steps[:] = [s for s in (place.get(s, s) for s in program.steps) if s is not None]


def blockwise(kernel: Kernel, out: Var, blocks: Blocks) -> Kernel | None:
    """The kernel over the rows and columns of the product's memory, if it is elementwise and walks that memory in order."""
    size, pitch = out.type.size, blocks.pitch
    if kernel.fold_axes or len(kernel.stages) != 1 or kernel.scratch or kernel.size != size or size % pitch:
        return None
    kernel = collapse(kernel)
    rows, cols = Axis("row", size // pitch), Axis("col", pitch)
    if pitch == 1:      # one column: lanes are its rows
        rows, cols = Axis("row", 1), Axis("col", size)
    at = linear((Index({rows: 1}) if rows.size != 1 else Index(), Index({cols: 1}) if cols.size != 1 else Index()),
                (rows.size, cols.size))
    images, stride = {}, 1
    for axis in reversed(kernel.row_axes):
        images[axis] = at // stride % axis.size
        stride *= axis.size
    made = substituted(kernel, images)
    made.row_axes = [rows, cols]
    loads = [e.data for e in made.loads]
    own = [d for d in loads if d[0] is out]
    is_own = bool(own) and all(offset == at and not guards for _, offset, guards in own)
    cost = sum(total_cost(root) for root in made.roots)
    if not is_own or any(uneven(i, cols) for i in made.indices()) or cost > DEAREST * blocks.depth:
        return None
    return made if all(s.offset == at for s in made.stages[0].stores) else None


def uneven(index: Index, axis: Axis) -> bool:
    """Whether neighbours along the axis may lie anywhere."""
    return any(isinstance(atom, (Quotient, Remainder)) and axis in atom.of.atoms() or isinstance(atom, Dynamic)
               for atom, _ in index.terms)


def fuse_steps(program: Program, product: NativeStep, reader: KernelStep, kernel: Kernel) -> None:
    """The product runs where the kernel ran."""
    out = product.eqn.outputs[0]
    product.epilogue = kernel
    product.reads = list(dict.fromkeys([*product.reads, *[v for v in reader.reads if program.home(v) is not out]]))
    product.writes = [out, *reader.writes]


def share_memory(program: Program, out: Var, product: NativeStep, donated: set[Var]) -> None:
    """Let the product be computed in the memory of what is made of it, unless that might be a param's."""
    target = next((v for v in product.writes[1:] if v.type.strong() is out.type.strong()), None)
    if target is None or any(p.type.strong() is target.type.strong() for p in donated & set(product.reads)):
        return
    program.alias[out] = target
    product.writes = product.writes[1:]
