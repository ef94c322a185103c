"""Clustering."""
from . import vq

__all__ = ["vq"]
