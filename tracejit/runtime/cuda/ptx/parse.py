"""PTX text -> `Module`: the entry's parameters, what it keeps in which memory, and its instructions, functions included.

    @%p1 bra $L__BB0_2;     ->  Instruction(("bra",), ["$L__BB0_2"], predicate="%p1")
    add.s64 %rd3, %rd1, 4;  ->  Instruction(("add", "s64"), ["%rd3", "%rd1", "4"])
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

SIZES = {"b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "bf16": 2, "b32": 4, "u32": 4, "s32": 4, "f32": 4,
         "f16x2": 4, "bf16x2": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}
COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
BODY = re.compile(r"\.(entry|func)\s+(?:\(([^)]*)\)\s*)?([\w$]+)\s*\(([^)]*)\)([^{;]*)(\{|;)", re.S)
VARIABLE = re.compile(r"\.(shared|local|global|const)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)((?:\[\d*\])*)"
                      r"(?:\s*=\s*(\{[^}]*\}|[^;]+))?\s*;")
PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?")
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+([^;]+);")
STATEMENT = re.compile(r"(?:@(!?)(%[\w$]+)\s+)?([\w.:]+)\s*(.*)$", re.S)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+")
LABEL = re.compile(r"([\w$]+):\s*")


class PTXError(RuntimeError):
    """A kernel did something that is undefined on a device, or that the interpreter does not know."""


@dataclass
class Instruction:
    """One instruction; a vector operand is a tuple of registers."""
    op: tuple[str, ...]
    args: list
    predicate: str | None = None
    negated: bool = False
    function: str = ""

    def __str__(self) -> str:
        guard = f"@{'!' * self.negated}{self.predicate} " if self.predicate else ""
        return f"{guard}{'.'.join(self.op)} {', '.join(map(str, self.args))}"

    @property
    def type(self) -> str:
        return self.op[-1]


@dataclass
class Function:
    """A body with its parameters and results by name; `start` is the number of its first instruction."""
    name: str
    params: list[str]
    results: list[str]
    start: int = 0


@dataclass
class Module:
    entry: str
    params: list[tuple[str, str]] = field(default_factory=list)     # (name, type) of the entry
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)            # unique over functions
    functions: dict[str, Function] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)            # register -> bytes, 0 for a predicate
    shared: dict[str, int] = field(default_factory=dict)            # variable -> offset
    local: dict[str, int] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)  # variables in global or constant memory
    shared_bytes: int = 0
    local_bytes: int = 0


def parse(text: str) -> Module:
    """The module with the one entry of a PTX text. PTXError for what is not understood."""
    text = COMMENTS.sub("", text)
    bodies = list(bodies_of(text))
    entries = [b for b in bodies if b[0] == "entry"]
    if len(entries) != 1:
        raise PTXError(f"expected one entry, found {len(entries)}")
    module = Module(entries[0][2])
    outside = text
    for _, _, _, _, body in bodies:
        outside = outside.replace(body, "")
    add_variables(module, outside, "")
    for kind, results, name, params, body in sorted(bodies, key=lambda b: b[0] == "entry"):
        add_body(module, kind, results, name, params, body)
    return module


def bodies_of(text: str):
    """(entry or func, results, name, parameters, body) of each definition; declarations have no body."""
    for match in BODY.finditer(text):
        kind, results, name, params, _, opening = match.groups()
        if opening == "{":
            yield kind, results or "", name, params, text[match.end():end_of_block(text, match.end())]


def end_of_block(text: str, start: int) -> int:
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    raise PTXError("a block does not end")


def add_body(module: Module, kind: str, results: str, name: str, params: str, body: str) -> None:
    """Functions come before the entry: lanes in a function have the lowest number, so they run first and join again."""
    found = [(variable, t) for t, variable, _ in PARAMETER.findall(params)]
    if kind == "entry":
        module.params = found
    scope = "" if kind == "entry" else name + ":"
    returned = [variable for _, variable, _ in PARAMETER.findall(results)]
    module.functions[name] = Function(name, [v for v, _ in found], returned, len(module.code))
    add_variables(module, body, scope)
    add_registers(module, body, scope)
    for statement in body.split(";"):
        add_statement(module, statement, scope)
    module.code.append(Instruction(("ret",), [], function=scope))


def add_registers(module: Module, body: str, scope: str) -> None:
    for t, names in REGISTERS.findall(body):
        width = 0 if t == "pred" else SIZES[t]
        for name in names.split(","):
            prefix, _, count = name.strip().partition("<")
            if count:
                module.widths.update({f"{scope}{prefix}{k}": width for k in range(int(count.rstrip(">")))})
            else:
                module.widths[scope + prefix] = width


def add_variables(module: Module, text: str, scope: str) -> None:
    for space, align, t, name, dims, initial in VARIABLE.findall(text):
        counts = [int(d) for d in re.findall(r"\[(\d+)\]", dims)] or [1]
        count, size = int(np.prod(counts)), SIZES[t]
        if space == "shared":
            module.shared[scope + name] = place = rounded(module.shared_bytes, max(int(align or 1), 16))
            module.shared_bytes = place + count * size
        elif space == "local":
            module.local[scope + name] = place = rounded(module.local_bytes, 16)
            module.local_bytes = place + rounded(count * size, 16)
        else:
            module.constants[name] = initial_value(count, size, initial)


def initial_value(count: int, size: int, text: str) -> np.ndarray:
    array = np.zeros(count, f"u{size}")
    numbers = [int(n, 0) & (1 << 8 * size) - 1 for n in re.findall(r"-?\b(?:0x[0-9a-fA-F]+|\d+)", text)]
    array[:len(numbers)] = numbers
    return array


def rounded(n: int, to: int) -> int:
    return -(-n // to) * to


def add_statement(module: Module, text: str, scope: str) -> None:
    text = text.strip()
    while True:         # braces of a call's scope, and labels
        text = text.lstrip("{} \n\t")
        label = LABEL.match(text)
        if label is None:
            break
        module.labels[label[1]] = len(module.code)
        text = text[label.end():]
    if not text or text.startswith("."):        # declarations were read before
        return
    match = STATEMENT.match(text)
    if match is None:
        raise PTXError(f"cannot parse {text!r}")
    negated, predicate, op, rest = match.groups()
    guard = scope + predicate if predicate else None
    module.code.append(Instruction(tuple(op.split(".")), operands(rest, scope), guard, bool(negated), scope))


def operands(text: str, scope: str) -> list:
    return [scoped(a, scope) for a in OPERAND.findall(text)]


def scoped(text: str, scope: str) -> str | tuple:
    """Registers belong to a function, so their names get its prefix."""
    if text[0] in "{(":
        return tuple(scoped(part.strip(), scope) for part in text[1:-1].split(",") if part.strip())
    return re.sub(r"(?<![\w%.])%(?!(?:tid|ntid|ctaid|nctaid|laneid|warpsize|clock)\b)", scope + "%", text) if scope else text
