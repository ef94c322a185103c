"""Functions of neural networks: activations, softmax and its kin, attention, and the initializers of weights."""
from tracejit.numpy import tanh

from . import initializers
from .activations import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log1mexp,
    log_sigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    sparse_plus,
    sparse_sigmoid,
    squareplus,
    swish,
)
from .attention import dot_product_attention
from .normalize import log_softmax, logmeanexp, logsumexp, one_hot, softmax, standardize
from .scaled import scaled_dot_general, scaled_matmul


__all__ = [
    "celu", "dot_product_attention", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "identity", "initializers", "leaky_relu", "log1mexp", "log_sigmoid", "log_softmax", "logmeanexp", "logsumexp",
    "mish", "one_hot", "relu", "relu6", "scaled_dot_general", "scaled_matmul", "selu", "sigmoid", "silu",
    "soft_sign", "softmax", "softplus", "sparse_plus", "sparse_sigmoid", "squareplus", "standardize", "swish",
    "tanh",
]


def __getattr__(name: str):
    if name == "get_scaled_dot_general_config":
        raise AttributeError("tracejit.nn.get_scaled_dot_general_config: there are no 8- and 4-bit floating-point dtypes; "
                             "use scaled_matmul with scales of your own, or lax.dot_general")
    raise AttributeError(f"module 'tracejit.nn' has no attribute {name!r}")
