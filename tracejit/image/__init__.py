"""Images: resampling to another shape, scaling and translation."""
from .resize import ResizeMethod, resize, scale_and_translate

__all__ = ["ResizeMethod", "resize", "scale_and_translate"]
