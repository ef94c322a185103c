"""What libraries build on: primitives of their own (`core`), functions under transformation (`linear_util`)."""
from tracejit.absent import getter
from tracejit.extend import core as core
from tracejit.extend import linear_util as linear_util
from tracejit.extend import random as random

__getattr__ = getter(__name__)
