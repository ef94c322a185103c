"""Geometry in three dimensions."""
from . import transform

__all__ = ["transform"]
