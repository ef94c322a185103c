"""What libraries build on: primitives of their own (`core`), functions under transformation (`linear_util`)."""
from tracejit.absent import getter

__getattr__ = getter(__name__)
