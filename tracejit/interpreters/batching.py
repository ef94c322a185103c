"""Batching rules of a program's own primitives: the registries, and rules of common forms."""
from tracejit.absent import getter
from tracejit.transforms.primitives import axis_batch_rules as axis_primitive_batchers
from tracejit.transforms.primitives import axis_data_batch_rules as fancy_primitive_batchers
from tracejit.transforms.primitives import batch_rules as primitive_batchers
from tracejit.transforms.primitives import defbroadcasting, defvectorized

not_mapped = None  # the axis of an operand without lanes

__all__ = ["axis_primitive_batchers", "defbroadcasting", "defvectorized", "fancy_primitive_batchers", "not_mapped",
           "primitive_batchers"]

__getattr__ = getter(__name__)
