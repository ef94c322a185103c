"""pjit, the old name of jit with shardings."""
from tracejit.lax.staging import with_sharding_constraint as with_sharding_constraint
from tracejit.runtime.jit import jit as pjit

__all__ = ["pjit", "with_sharding_constraint"]
