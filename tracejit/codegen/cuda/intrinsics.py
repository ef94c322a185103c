"""The vocabulary of kernel texts: one name per instruction that Numba-CUDA lacks or would type otherwise, all in `NAMES`.

    vload_f4x4(p, i)    four float32 from element i on, one 128-bit load        maximum_f4(x, y)    nan if either is
    b2_f4(u2)           bits of a bfloat16 as a float32                         sdiv_i4(x, y)       truncating, unchecked

Type words are those of KernelSource: `f4` is float32, `u2` an unsigned 16-bit integer. Each name has one signature, to
which Numba converts the arguments. This is the only module that speaks llvmlite's IR or inline PTX for the GPU.
"""
from __future__ import annotations

import inspect
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

if not hasattr(np, "row_stack"):    # NumPy 2.5 removed it, and numba-cuda 0.30 asks for it when it compiles
    np.row_stack = np.vstack

TYPES = {"i1": types.int8, "i2": types.int16, "i4": types.int32, "i8": types.int64,
         "u1": types.uint8, "u2": types.uint16, "u4": types.uint32, "u8": types.uint64,
         "f4": types.float32, "f8": types.float64, "bool_": types.boolean}
PTX = {"i1": "s8", "i2": "s16", "i4": "s32", "i8": "s64", "u1": "u8", "u2": "u16", "u4": "u32", "u8": "u64",
       "f4": "f32", "f8": "f64"}
REGISTERS = {"i2": "h", "u2": "h", "i4": "r", "u4": "r", "i8": "l", "u8": "l", "f4": "f", "f8": "d", "*": "l"}
FLOATS, INTEGERS = ("f4", "f8"), ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
WORDS_32_64 = ("i4", "u4", "f4", "i8", "u8", "f8")

NAMES: dict[str, Any] = {"cuda": cuda, "math": math, "inf": math.inf, "nan": math.nan, **TYPES}

Build = Callable[..., Any]      # (builder, *LLVM values) -> LLVM value, a list of them for a tuple, or None


def llvm_type(word: str) -> ir.Type:
    if word in FLOATS:
        return ir.FloatType() if word == "f4" else ir.DoubleType()
    return ir.IntType(1 if word == "bool_" else 8 * int(word[1]))


def constant(word: str, value: int) -> ir.Constant:
    return ir.Constant(llvm_type(word), value)


def result_type(result: str | Sequence[str], taken: Sequence[Any]) -> Any:
    if result == "any":
        return taken[-1]
    if isinstance(result, str):
        return TYPES[result] if result else types.void
    return types.UniTuple(TYPES[result[0]], len(result))


def define(name: str, result: str | Sequence[str], params: Sequence[str | Sequence[str]], build: Build) -> None:
    """Add an intrinsic. Several words are a tuple, "*" is any pointer, "any" any type; the result "any" is that of the
    last argument, the result "" is none."""
    def taken(word: str | Sequence[str], given: Any) -> Any:
        return types.unliteral(given) if word in ("*", "any") else result_type(word, ())

    def typed(typingctx: Any, *given: Any) -> Any:
        if len(given) != len(params):
            return None
        arguments = [taken(word, x) for word, x in zip(params, given)]

        def generate(context: Any, builder: Any, sig: Any, values: Sequence[Any]) -> Any:
            made = build(builder, *values)
            if made is None:
                return context.get_dummy_value()
            return cgutils.pack_array(builder, made) if isinstance(made, list) else made
        return result_type(result, arguments)(*arguments), generate
    typed.__name__ = typed.__qualname__ = name
    words = ["typingctx", *[f"x{k}" for k in range(len(params))]]       # Numba wants to see each parameter
    typed.__signature__ = inspect.Signature([inspect.Parameter(w, inspect.Parameter.POSITIONAL_OR_KEYWORD) for w in words])
    NAMES[name] = intrinsic(typed)


def ptx(text: str, result: str, params: Sequence[str], effect: bool = False, together: bool = False) -> Build:
    """One piece of inline PTX: $0 is the result, if there is one, and the params follow.

    With an `effect` it stays in order; `together` it is not moved to where fewer lanes run it.
    """
    letters = ["=" + REGISTERS[result]] if result else []
    letters += [REGISTERS[p] for p in params] + ["~{memory}"] * effect
    attributes = ("convergent",) if together else ()

    def build(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(llvm_type(result) if result else ir.VoidType(), [v.type for v in values])
        code = ir.InlineAsm(kind, text, ",".join(letters), side_effect=effect or together)
        made = builder.call(code, values, attrs=attributes)
        return made if result else None
    return build


def llvm(name: str, result: str, *params: str) -> Build:
    """A call of an LLVM intrinsic."""
    def build(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(llvm_type(result), [llvm_type(p) for p in params])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
    return build


def define_ptx(name: str, text: str, result: str, *params: str, **how: bool) -> None:
    define(name, result, params, ptx(text, result, params, **how))


# --- bits and selection -----------------------------------------------------------------------------------------------

define("select", "any", ("bool_", "any", "any"), lambda b, c, x, y: b.select(c, x, y))

for w in ("i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
    define(f"bitcast_{w}", w, ("any",), lambda b, x, w=w: b.bitcast(x, llvm_type(w)))


def counted(instruction: str, word: str) -> Build:
    """popc or clz of an integer of any width: the hardware knows 32 and 64 bits."""
    wide = "u8" if word[1] == "8" else "u4"
    count = ptx(f"{instruction}.b{8 * int(wide[1])} $0, $1;", "i4", (wide,))
    added = 8 * (int(wide[1]) - int(word[1])) if instruction == "clz" else 0

    def build(b: Any, x: Any) -> Any:
        n = count(b, x if x.type == llvm_type(wide) else b.zext(x, llvm_type(wide)))
        n = b.sub(n, constant("i4", added)) if added else n
        size = int(word[1])
        return n if size == 4 else b.zext(n, llvm_type(word)) if size == 8 else b.trunc(n, llvm_type(word))
    return build


for w in INTEGERS:
    define(f"ctpop_{w}", w, (w,), counted("popc", w))
    define(f"ctlz_{w}", w, (w,), counted("clz", w))
for w in ("i4", "u4", "i8", "u8"):
    define_ptx(f"mulhi_{w}", f"mul.hi.{PTX[w]} $0, $1, $2;", w, w, w)


# --- integers: wrapping, truncating, without checks -------------------------------------------------------------------

def chosen(order: str, signed: bool) -> Build:
    def build(b: Any, x: Any, y: Any) -> Any:
        return b.select(b.icmp_signed(order, x, y) if signed else b.icmp_unsigned(order, x, y), x, y)
    return build


for w in INTEGERS:
    s = w[0] == "i"
    sign = "s" if s else "u"
    define(f"{sign}div_{w}", w, (w, w), lambda b, x, y, s=s: b.sdiv(x, y) if s else b.udiv(x, y))
    define(f"{sign}rem_{w}", w, (w, w), lambda b, x, y, s=s: b.srem(x, y) if s else b.urem(x, y))
    define(f"{sign}max_{w}", w, (w, w), chosen(">", s))
    define(f"{sign}min_{w}", w, (w, w), chosen("<", s))
    define(f"shl_{w}", w, (w, w), lambda b, x, n: b.shl(x, n))
    define(f"shr_{w}", w, (w, w), lambda b, x, n, s=s: b.ashr(x, n) if s else b.lshr(x, n))
    if s:
        define(f"abs_{w}", w, (w,), lambda b, x: b.select(b.icmp_signed("<", x, x.type(0)), b.neg(x), x))


# --- floats: IEEE, never contracted or approximated -------------------------------------------------------------------

def with_nan(build: Build) -> Build:
    """The same for numbers; a nan if either operand is."""
    def both(b: Any, x: Any, y: Any) -> Any:
        return b.select(b.fcmp_unordered("uno", x, y), b.fadd(x, y), build(b, x, y))
    return both


def rounded_away(word: str) -> Build:
    """The nearest whole number, halves away from zero."""
    truncate = ptx(f"cvt.rzi.{PTX[word]}.{PTX[word]} $0, $1;", word, (word,))
    fabs = ptx(f"abs.{PTX[word]} $0, $1;", word, (word,))
    copysign = ptx(f"copysign.{PTX[word]} $0, $2, $1;", word, (word, word))

    def build(b: Any, x: Any) -> Any:
        whole = truncate(b, x)
        is_half = b.fcmp_ordered(">=", fabs(b, b.fsub(x, whole)), x.type(0.5))
        return b.select(is_half, b.fadd(whole, copysign(b, x.type(1.0), x)), whole)
    return build


for w in FLOATS:
    t = PTX[w]
    define(f"div_{w}", w, (w, w), lambda b, x, y: b.fdiv(x, y))
    define(f"fma_{w}", w, (w, w, w), llvm(f"llvm.fma.{t}", w, w, w, w))
    define_ptx(f"fabs_{w}", f"abs.{t} $0, $1;", w, w)      # NVVM refuses llvm.fabs
    define(f"round_{w}", w, (w,), rounded_away(w))
    define_ptx(f"sqrt_{w}", f"sqrt.rn.{t} $0, $1;", w, w)
    define_ptx(f"copysign_{w}", f"copysign.{t} $0, $2, $1;", w, w, w)   # PTX takes the sign first
    for name, mode in (("rint", "rni"), ("floor", "rmi"), ("ceil", "rpi"), ("trunc", "rzi")):
        define_ptx(f"{name}_{w}", f"cvt.{mode}.{t}.{t} $0, $1;", w, w)

for name in ("max", "min"):
    define_ptx(f"{name}imum_f4", f"{name}.NaN.f32 $0, $1, $2;", "f4", "f4", "f4")
    define(f"{name}imum_f8", "f8", ("f8", "f8"), with_nan(ptx(f"{name}.f64 $0, $1, $2;", "f8", ("f8", "f8"))))


# --- conversions ------------------------------------------------------------------------------------------------------

def saturating(target: str) -> Build:
    """The nearest number that the integer can hold, towards zero; nan is 0."""
    held = target if int(target[1]) > 1 else target[0] + "2"        # no 8-bit registers

    def build(b: Any, x: Any) -> Any:
        source = "f8" if x.type == llvm_type("f8") else "f4"
        value = ptx(f"cvt.rzi.{PTX[target]}.{PTX[source]} $0, $1;", held, (source,))(b, x)
        if held != target:
            value = b.trunc(value, llvm_type(target))
        if source == "f8" or target[1] == "8":      # where the instruction makes something else of a nan
            value = b.select(b.fcmp_unordered("uno", x, x), constant(target, 0), value)
        return value
    return build


for w in INTEGERS:
    define(f"sat_{w}", w, ("any",), saturating(w))

for f in FLOATS:        # f2 and b2 are the two 16-bit floats, whose bits are a u2
    define_ptx(f"f2_{f}", f"cvt.{PTX[f]}.f16 $0, $1;", f, "u2")
    define_ptx(f"{f}_f2", f"cvt.rn.f16.{PTX[f]} $0, $1;", "u2", f)

define("b2_f4", "f4", ("u2",), lambda b, x: b.bitcast(b.shl(b.zext(x, llvm_type("u4")), constant("u4", 16)), llvm_type("f4")))
define_ptx("f4_b2", "cvt.rn.bf16.f32 $0, $1;", "u2", "f4")
define_ptx("f4_b2x2", "cvt.rn.bf16x2.f32 $0, $2, $1;", "u4", "f4", "f4")       # the second in the upper half


# --- memory: 64 and 128 bits at once ----------------------------------------------------------------------------------

def vector_place(b: Any, word: str, n: int, p: Any, i: Any) -> tuple[Any, int]:
    """(pointer in global memory to as many 32-bit or 64-bit words as n elements take, bytes): others are not vectorised."""
    nbytes = n * int(word[1])
    held = llvm_type(word if int(word[1]) >= 4 else "u4")
    vector = ir.VectorType(held, nbytes // (8 if int(word[1]) == 8 else 4))
    at = b.bitcast(b.gep(p, [i], inbounds=True), ir.PointerType(vector))
    return b.addrspacecast(at, ir.PointerType(vector, 1)), nbytes


def per_word(word: str) -> int:
    """Elements in a 32-bit word of memory, if several. NVVM splits an access whose words are not taken apart one by one."""
    return max(1, 4 // int(word[1]))


def vector_load(word: str, n: int, constant_memory: bool) -> Build:
    def build(b: Any, p: Any, i: Any) -> list:
        at, nbytes = vector_place(b, word, n, p, i)
        loaded, bits = b.load(at, align=nbytes), 8 * int(word[1])
        if constant_memory:
            loaded.set_metadata("invariant.load", b.module.add_metadata([]))
        elements = [b.extract_element(loaded, constant("i4", k)) for k in range(n // per_word(word))]
        if per_word(word) == 1:
            return elements
        return [b.trunc(b.lshr(x, constant("u4", bits * k)), llvm_type(word)) for x in elements for k in range(per_word(word))]
    return build


def vector_store(word: str, n: int) -> Build:
    def build(b: Any, p: Any, i: Any, elements: Any) -> None:
        at, nbytes = vector_place(b, word, n, p, i)
        given, per, bits = cgutils.unpack_tuple(b, elements, n), per_word(word), 8 * int(word[1])
        if per > 1:
            wide = [b.shl(b.zext(x, llvm_type("u4")), constant("u4", bits * (k % per))) for k, x in enumerate(given)]
            given = [functools.reduce(b.or_, wide[k:k + per]) for k in range(0, n, per)]
        whole = ir.Constant(at.type.pointee, ir.Undefined)
        for k, x in enumerate(given):
            whole = b.insert_element(whole, x, constant("i4", k))
        b.store(whole, at, align=nbytes)
    return build


for w in (*INTEGERS, *FLOATS):
    for lanes in {16 // int(w[1]), 8 // int(w[1])} - {1}:
        define(f"vload_{w}x{lanes}", [w] * lanes, ("*", "i8"), vector_load(w, lanes, False))
        define(f"vload_constant_{w}x{lanes}", [w] * lanes, ("*", "i8"), vector_load(w, lanes, True))
        define(f"vstore_{w}x{lanes}", "", ("*", "i8", [w] * lanes), vector_store(w, lanes))


# --- lanes of a warp --------------------------------------------------------------------------------------------------

def shuffle(word: str, mode: str, clamp: int) -> Build:
    move = ptx(f"shfl.sync.{mode}.b32 $0, $1, $2, {clamp}, -1;", "u4", ("u4", "i4"), together=True)

    def build(b: Any, x: Any, lane: Any) -> Any:
        whole = ir.IntType(8 * int(word[1]))
        bits = b.bitcast(x, whole)
        if word[1] == "4":
            return b.bitcast(move(b, bits, lane), x.type)
        low, high = [move(b, b.trunc(part, llvm_type("u4")), lane) for part in (bits, b.lshr(bits, ir.Constant(whole, 32)))]
        joined = b.or_(b.zext(low, whole), b.shl(b.zext(high, whole), ir.Constant(whole, 32)))
        return b.bitcast(joined, x.type)
    return build


for w in WORDS_32_64:
    for name, mode, clamp in (("xor", "bfly", 31), ("down", "down", 31), ("up", "up", 0), ("from", "idx", 31)):
        define(f"shfl_{name}_{w}", w, (w, "i4"), shuffle(w, mode, clamp))


# --- atomics on pointers to global memory: (pointer, element, value); the old value where it is named `fetch` ----------

def atomic(operation: str, word: str, returns: bool, *more: str) -> Build:
    values = ", ".join(f"${k + 1 + returns}" for k in range(1 + len(more)))
    text = f"atom.global.{operation} $0, [$1], {values};" if returns else f"red.global.{operation} [$0], {values};"
    code = ptx(text, word if returns else "", ("*", word, *more), effect=True)

    def build(b: Any, p: Any, i: Any, *operands: Any) -> Any:
        at = b.addrspacecast(b.gep(p, [i], inbounds=True), ir.PointerType(llvm_type(word), 1))
        return code(b, b.ptrtoint(at, llvm_type("u8")), *operands)
    return build


for w in WORDS_32_64:
    t = PTX["u8" if w == "i8" else w]       # addition does not know the sign, and is there only without
    define(f"atomic_add_{w}", "", ("*", "i8", w), atomic(f"add.{t}", w, False))
    define(f"atomic_fetch_add_{w}", w, ("*", "i8", w), atomic(f"add.{t}", w, True))
    if w in INTEGERS:
        for name in ("min", "max"):
            define(f"atomic_{name}_{w}", "", ("*", "i8", w), atomic(f"{name}.{PTX[w]}", w, False))
for w in ("u4", "u8"):
    bits = f"b{8 * int(w[1])}"
    define(f"atomic_fetch_exch_{w}", w, ("*", "i8", w), atomic(f"exch.{bits}", w, True))
    define(f"atomic_fetch_cas_{w}", w, ("*", "i8", w, w), atomic(f"cas.{bits}", w, True, w))
    for name in ("and", "or", "xor"):
        define(f"atomic_{name}_{w}", "", ("*", "i8", w), atomic(f"{name}.{bits}", w, False))
define("atomic_fetch_inc_u4", "u4", ("*", "i8", "u4"), atomic("inc.u32", "u4", True))       # to 0 after the given value
