"""How values of a program's own classes become arrays: functions registered for the class."""
from tracejit.absent import getter
from tracejit.ir.types import value_of_own as canonicalize_dtype_handlers

__all__ = ["canonicalize_dtype_handlers"]

__getattr__ = getter(__name__)
