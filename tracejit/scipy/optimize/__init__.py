"""Minimisation of smooth functions."""
from .minimize import OptimizeResults, minimize

__all__ = ["OptimizeResults", "minimize"]
