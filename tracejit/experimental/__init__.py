"""Names that JAX has in jax.experimental."""
from tracejit.absent import getter
from tracejit.config import disable_x64 as disable_x64
from tracejit.config import enable_x64 as enable_x64
from tracejit.experimental.hijax import Ref as MutableArray
from tracejit.lax.callback import io_callback as io_callback

__all__ = ["MutableArray", "disable_x64", "enable_x64", "io_callback"]

__getattr__ = getter(__name__)
