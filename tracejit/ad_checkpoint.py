"""Naming values for checkpoint policies, under JAX's module name."""
from typing import NamedTuple

from tracejit.absent import getter
from tracejit.transforms.checkpoint import checkpoint as checkpoint
from tracejit.transforms.checkpoint import checkpoint_name as checkpoint_name
from tracejit.transforms.checkpoint import checkpoint_policies as checkpoint_policies
from tracejit.transforms.checkpoint import remat as remat
from tracejit.transforms.inspect import print_saved_residuals as print_saved_residuals

class SaveableType:
    """What a checkpoint policy may return instead of True."""


class RecomputeType:
    """What a checkpoint policy may return instead of False."""

    def __bool__(self) -> bool:
        return False


class Offloadable(NamedTuple):
    """What a checkpoint policy may return for a value to keep in another memory; there is one, in which it is kept."""
    src: str
    dst: str


Saveable, Recompute = SaveableType(), RecomputeType()

__getattr__ = getter(__name__)
