"""The sharp bits: pure functions, updates out of place, out-of-bounds indexing, random keys, control flow, nan, 64 bits."""
import numpy as np

import tracejit as jax
import tracejit.numpy as jnp
from tracejit import lax, random


def kind(f, *args):
    try:
        return f(*args)
    except Exception as error:
        return " or ".join(c.__name__ for c in (TypeError, IndexError) if isinstance(error, c))


def main():
    seen = []

    @jax.jit
    def impure(x):
        seen.append("traced")
        return x + 1
    impure(1.0), impure(2.0), impure(jnp.ones(3))
    print("a side effect happens once per shape:", seen)

    array = jnp.zeros((3, 3))
    print("assignment:", kind(lambda: array.__setitem__((1, slice(None)), 1.0)))
    print(array.at[1, :].set(1.0), array.at[::2, 2:].add(7.0), sep="\n")

    print("out of bounds:", jnp.arange(10)[11], jnp.arange(10.0).at[11].get(mode="fill", fill_value=jnp.nan))
    print("lists:", kind(jnp.sum, [1, 2, 3]))

    key = random.key(43)
    for i in range(3):
        new_key, subkey = random.split(key)
        print("draw", i, random.normal(subkey))
        key = new_key

    print("branching on a traced value:", kind(jax.jit(lambda x: x if x < 3 else -x), 2.0))
    static = jax.jit(lambda x, n: x ** n, static_argnums=1)
    print("static:", static(2.0, 3), "cond:", lax.cond(True, lambda x: x + 1, lambda x: x - 1, jnp.array([0.0])))
    print("slices of traced size:", kind(jax.jit(lambda x, n: x[:n]), jnp.arange(4), 2))
    print("loops:", jax.jit(lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 2.0), (0, 1.0))[1])(5))
    print("masks:", jax.jit(lambda x: jnp.where(x > 0, x, 0.0).sum())(jnp.array([-1.0, 2.0])))
    print("a gradient at the kink:", jax.grad(lambda x: jnp.where(x < 3, 3.0 * x**2, -4.0 * x))(3.0))
    print("safe where:", jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0))(0.0))
    with jax.debug_nans(True):
        try:
            jnp.divide(0.0, 0.0)
        except FloatingPointError:
            print("nan found")
    print("default dtypes:", random.uniform(random.key(0), (2,)).dtype, jnp.arange(2).dtype, (jnp.float32(1) + np.float64(2)).dtype)


if __name__ == "__main__":
    main()
