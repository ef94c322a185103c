"""Naming values for checkpoint policies, under JAX's module name."""
from tracejit.absent import getter
from tracejit.transforms.checkpoint import checkpoint as checkpoint
from tracejit.transforms.checkpoint import checkpoint_name as checkpoint_name
from tracejit.transforms.checkpoint import checkpoint_policies as checkpoint_policies
from tracejit.transforms.checkpoint import remat as remat
from tracejit.transforms.inspect import print_saved_residuals as print_saved_residuals

__getattr__ = getter(__name__)
