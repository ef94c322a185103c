"""Rules of primitives that a program defines itself (`extend.core.Primitive`), under JAX's names."""
from tracejit.absent import getter

__getattr__ = getter(__name__)
