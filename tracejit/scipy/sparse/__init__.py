"""Systems of equations given by matrix-vector products."""
from . import linalg

__all__ = ["linalg"]
