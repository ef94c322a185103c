"""tracejit: JIT-compiled functional arrays with JAX's API: jit, grad, vmap, and a NumPy that compiles.

>>> import tracejit as tj, tracejit.numpy as jnp
>>> tj.grad(lambda x: jnp.sum(x ** 2))(jnp.arange(3.))
Array([0., 2., 4.], dtype=float32)
"""
from tracejit.lax.callback import pure_callback as pure_callback
from tracejit.runtime.jit import jit as jit
from tracejit.transforms.derivatives import (grad, hessian, jacfwd, jacrev, jvp, linear_transpose, linearize,
                                             value_and_grad, vjp)
from tracejit.transforms.vmap import vmap as vmap
from tracejit.transforms.checkpoint import checkpoint, checkpoint_policies, remat
from tracejit.transforms.custom import closure_convert, custom_gradient, custom_jvp, custom_vjp
