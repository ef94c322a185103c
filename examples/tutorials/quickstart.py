"""jit, grad, vmap on small functions, as in the quickstart of JAX's documentation."""
import tracejit as jax
import tracejit.numpy as jnp


def selu(x, alpha=1.67, lmbda=1.05):
    return lmbda * jnp.where(x > 0, x, alpha * jnp.exp(x) - alpha)


def sum_logistic(x):
    return jnp.sum(1.0 / (1.0 + jnp.exp(-x)))


def first_finite_differences(f, x, eps=1e-3):
    return jnp.array([(f(x + eps * v) - f(x - eps * v)) / (2 * eps) for v in jnp.eye(len(x))])


def hessian(fun):
    return jax.jit(jax.jacfwd(jax.jacrev(fun)))


def main():
    x = jnp.arange(5.0)
    print("selu", selu(x))
    big = jax.random.normal(jax.random.key(1701), (10_000,))
    print("compiled agrees:", bool(jnp.allclose(jax.jit(selu)(big), selu(big), atol=1e-6)))

    small = jnp.arange(3.0)
    slope = jax.grad(sum_logistic)(small)
    print("gradient", slope)
    print("differences agree:", bool(jnp.allclose(slope, first_finite_differences(sum_logistic, small), atol=1e-3)))
    print("third derivative", jax.grad(jax.jit(jax.grad(jax.jit(jax.grad(sum_logistic)))))(1.0))
    print("Hessian", hessian(sum_logistic)(small), sep="\n")

    key1, key2 = jax.random.split(jax.random.key(0))
    mat, batched_x = jax.random.normal(key1, (150, 100)), jax.random.normal(key2, (10, 100))

    def apply_matrix(v):
        return jnp.dot(mat, v)

    naive = jnp.stack([apply_matrix(v) for v in batched_x])
    batched = jax.jit(jax.vmap(apply_matrix))(batched_x)
    print("vmap agrees:", bool(jnp.allclose(naive, batched, atol=1e-4)))


if __name__ == "__main__":
    main()
