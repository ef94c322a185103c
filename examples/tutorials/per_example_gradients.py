"""Gradients of each example in a batch, clipped and noised one by one: differentially private training in a few lines."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import grad, jit, random, tree_util, vmap
from tracejit.flatten_util import ravel_pytree


def predict(params, x):
    return jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]


def loss(params, x, y):
    return (predict(params, x) - y) ** 2


def clipped(params, l2_norm_clip, x, y):
    grads = grad(loss)(params, x, y)
    nonempty, treedef = tree_util.tree_flatten(grads)
    norm = jnp.linalg.norm(jnp.array([jnp.linalg.norm(g.ravel()) for g in nonempty]))
    divisor = jnp.maximum(norm / l2_norm_clip, 1.0)
    return tree_util.tree_unflatten(treedef, [g / divisor for g in nonempty])


@jit
def private_grad(params, xs, ys, rng, l2_norm_clip=0.5, noise_multiplier=0.1):
    per_example = vmap(clipped, (None, None, 0, 0))(params, l2_norm_clip, xs, ys)
    total, unravel = ravel_pytree(tree_util.tree_map(lambda g: jnp.sum(g, 0), per_example))
    noise = l2_norm_clip * noise_multiplier * random.normal(rng, total.shape)
    return unravel((total + noise) / len(xs))


def main():
    key = random.key(0)
    k1, k2, k3, key = random.split(key, 4)
    params = {"w1": 0.5 * random.normal(k1, (3, 16)), "b1": jnp.zeros(16), "w2": 0.5 * random.normal(k2, (16,))}
    xs = random.normal(k3, (128, 3))
    ys = jnp.sin(xs[:, 0]) * xs[:, 1]

    each = vmap(grad(loss), (None, 0, 0))(params, xs, ys)
    mean = tree_util.tree_map(lambda g: jnp.mean(g, 0), each)
    of_mean = grad(lambda p: jnp.mean(vmap(loss, (None, 0, 0))(p, xs, ys)))(params)
    print("mean of gradients is gradient of mean:",
          tree_util.tree_all(tree_util.tree_map(lambda a, b: bool(jnp.allclose(a, b, atol=1e-5)), mean, of_mean)))
    for step in range(61):
        if step % 20 == 0:
            print(f"step {step}: loss {jnp.mean(vmap(loss, (None, 0, 0))(params, xs, ys)):.4f}")
        grads = private_grad(params, xs, ys, random.fold_in(key, step))
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)


if __name__ == "__main__":
    main()
