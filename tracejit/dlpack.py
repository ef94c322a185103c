"""Exchanging memory with other libraries."""
from tracejit.runtime.array import from_dlpack as from_dlpack
