"""Exchanging memory with other libraries."""
from tracejit.absent import getter
from tracejit.runtime.array import from_dlpack as from_dlpack

__getattr__ = getter(__name__)
