"""Rules of primitives that a program defines itself (`extend.core.Primitive`), under JAX's names."""
from tracejit.absent import getter
from tracejit.interpreters import ad as ad
from tracejit.interpreters import batching as batching
from tracejit.interpreters import mlir as mlir
from tracejit.interpreters import partial_eval as partial_eval
from tracejit.interpreters import xla as xla

__getattr__ = getter(__name__)
