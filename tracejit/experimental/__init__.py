"""Names that JAX has in jax.experimental."""
from tracejit.absent import getter
from tracejit.lax.callback import io_callback as io_callback

__getattr__ = getter(__name__)
