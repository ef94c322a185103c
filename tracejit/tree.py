"""Pytrees by short names: `tree.map` is `tree_util.tree_map`, and so on."""
from tracejit.tree_util import broadcast_prefix as broadcast_prefix
from tracejit.tree_util import static as static
from tracejit.tree_util import tree_all as all
from tracejit.tree_util import tree_broadcast as broadcast
from tracejit.tree_util import tree_flatten as flatten
from tracejit.tree_util import tree_flatten_with_path as flatten_with_path
from tracejit.tree_util import tree_leaves as leaves
from tracejit.tree_util import tree_leaves_with_path as leaves_with_path
from tracejit.tree_util import tree_map as map
from tracejit.tree_util import tree_map_with_path as map_with_path
from tracejit.tree_util import tree_reduce as reduce
from tracejit.tree_util import tree_reduce_associative as reduce_associative
from tracejit.tree_util import tree_structure as structure
from tracejit.tree_util import tree_transpose as transpose
from tracejit.tree_util import tree_unflatten as unflatten

__all__ = ["all", "broadcast", "broadcast_prefix", "flatten", "flatten_with_path", "leaves", "leaves_with_path", "map",
           "map_with_path", "reduce", "reduce_associative", "static", "structure", "transpose", "unflatten"]
