"""A parsed module -> basic blocks of steps: straight runs of instructions, and how each ends.

    jump       to `target`, for lanes where `condition` holds (None: all); the others go on
    exit       the lane is done                   back       return to the caller
    call       go to `target`, then run `after`   barrier    wait for all lanes of the block
    together   wait for the lanes named in `mask`, then run `step` with them
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tracejit.runtime.cuda.ptx import arithmetic, atomics, convert, memory, warps
from tracejit.runtime.cuda.ptx.lanes import ALL, Index, Lanes, Read, Step, reader, writer
from tracejit.runtime.cuda.ptx.parse import Instruction, Module, PTXError, parse

DECODERS: dict[str, Callable[[Module, Instruction], Step]] = {
    **arithmetic.DECODERS, **convert.DECODERS, **memory.DECODERS, **atomics.DECODERS, **warps.SINGLE_DECODERS}


@dataclass
class Block:
    """Instructions that always run one after the other; what follows is the next block unless `ending` says otherwise."""
    steps: list[Step] = field(default_factory=list)
    ending: str = ""
    condition: Read | None = None
    target: int = -1
    step: Step | None = None
    mask: Read | None = None
    scope: str = ""         # the function that the block belongs to
    callee: str = ""
    after: Step | None = None
    text: str = ""


@dataclass
class Program:
    module: Module
    blocks: list[Block]
    start: int


def compile_program(text: str) -> Program:
    """The program of a PTX text. PTXError for an instruction that is not known."""
    module = parse(text)
    leaders = {*module.labels.values(), *[f.start for f in module.functions.values()]}
    blocks, number_of = [Block()], {}
    for k, ins in enumerate(module.code):
        if k in leaders and (blocks[-1].steps or blocks[-1].ending):
            blocks.append(Block())
        number_of.setdefault(k, len(blocks) - 1)
        add(module, blocks, ins)
    for block in blocks:
        if block.ending in ("jump", "call"):
            block.target = number_of[block.target]
    return Program(module, blocks, number_of[module.functions[module.entry].start])


def add(module: Module, blocks: list[Block], ins: Instruction) -> None:
    ending = ending_of(module, ins)
    if ending is None:
        blocks[-1].steps.append(guarded(module, ins, decode(module, ins)))
        return
    ending.steps, ending.scope, ending.text = blocks[-1].steps, ins.function, str(ins)
    ending.condition = condition_of(module, ins)
    blocks[-1] = ending
    blocks.append(Block())


def decode(module: Module, ins: Instruction) -> Step:
    decoder = DECODERS.get(ins.op[0])
    if decoder is None:
        raise PTXError(f"unknown instruction: {ins}")
    try:
        return decoder(module, ins)
    except (KeyError, ValueError, IndexError) as error:
        raise PTXError(f"cannot decode {ins}: {error!r}") from error


def condition_of(module: Module, ins: Instruction) -> Read | None:
    if ins.predicate is None:
        return None
    return reader(module, "!" * ins.negated + ins.predicate, "pred")


def guarded(module: Module, ins: Instruction, step: Step) -> Step:
    """The step for those lanes whose predicate holds."""
    holds = condition_of(module, ins)
    if holds is None:
        return step

    def some(lanes: Lanes, i: Index) -> None:
        yes = holds(lanes, i)
        if yes.all():
            step(lanes, i)
        elif yes.any():
            step(lanes, warps.numbers(lanes, i)[yes])
    return some


def ending_of(module: Module, ins: Instruction) -> Block | None:
    """The block end that an instruction is; None for one that is a step."""
    name = ins.op[0]
    if name == "bra":
        return Block(ending="jump", target=module.labels[ins.args[0]])
    if name in ("ret", "exit"):
        return Block(ending="back" if ins.function and name == "ret" else "exit")
    if name == "trap":
        return Block(ending="trap")
    if name in ("bar", "barrier"):
        return Block() if ins.op[1] == "warp" else Block(ending="barrier")
    if name == "call":
        return call_of(module, ins)
    if name in warps.DECODERS:
        together = guarded(module, ins, warps.DECODERS[name](module, ins))
        return Block(ending="together", step=together, mask=reader(module, ins.args[-1], "b32"))
    return None


def call_of(module: Module, ins: Instruction) -> Block:
    """Parameters are copied to the callee's before it runs, its results to the caller's after."""
    at = next(k for k, a in enumerate(ins.args) if isinstance(a, str))
    function = module.functions.get(ins.args[at])
    if function is None:
        raise PTXError(f"call of an unknown function: {ins}")
    given = ins.args[at + 1] if len(ins.args) > at + 1 else ()
    wanted = ins.args[0] if at else ()
    scope = function.name + ":"
    taken, returned = [*zip(given, function.params)], [*zip(function.results, wanted)]
    return Block(ending="call", target=function.start, callee=scope,
                 step=lambda lanes, i: copy_words(lanes, i, ins.function, scope, taken),
                 after=lambda lanes, i: copy_words(lanes, i, scope, ins.function, returned))


def copy_words(lanes: Lanes, i: Index, source: str, target: str, pairs: list[tuple[str, str]]) -> None:
    """Copy call parameters from one function to another: all parts of a variable that have been named anywhere."""
    module = lanes.module
    for old, new in pairs:
        prefix = f"{source}[{old}+"
        for register in [r for r in module.widths if r.startswith(prefix)]:
            moved = f"{target}[{new}+{register[len(prefix):]}"
            module.widths.setdefault(moved, module.widths[register])
            value = lanes.register(register)
            writer(module, moved)(lanes, i, value.copy() if i is ALL else value[i])
