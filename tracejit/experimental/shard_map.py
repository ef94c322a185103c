"""shard_map, where JAX had it first."""
from tracejit.parallel import shard_map as shard_map
