"""Primitives of calls, for programs that have rules for them. A call of a jitted function is inlined when it is traced,
so no equation has one of these."""
from tracejit.absent import getter
from tracejit.transforms.primitives import Primitive

call_p, closed_call_p, jit_p = Primitive("call"), Primitive("closed_call"), Primitive("jit")

__all__ = ["call_p", "closed_call_p", "jit_p"]

__getattr__ = getter(__name__)
