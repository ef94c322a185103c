"""A GRU trained to predict a wave, its time loop written with lax.scan."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import lax, nn, random


def init(key, n_in, n_hidden):
    glorot, keys = nn.initializers.glorot_normal(), random.split(key, 4)
    gates = {name: {"wx": glorot(random.fold_in(k, 0), (n_in, n_hidden)), "wh": glorot(random.fold_in(k, 1), (n_hidden, n_hidden)),
                    "b": jnp.zeros(n_hidden)} for name, k in zip(("update", "reset", "new"), keys)}
    return {"gates": gates, "out": glorot(keys[3], (n_hidden, n_in))}


def gru(gates, h, x):
    affine = lambda g, x, h: x @ g["wx"] + h @ g["wh"] + g["b"]
    z, r = nn.sigmoid(affine(gates["update"], x, h)), nn.sigmoid(affine(gates["reset"], x, h))
    return z * h + (1 - z) * jnp.tanh(affine(gates["new"], x, r * h))


def predict(params, xs):
    def step(h, x):
        h = gru(params["gates"], h, x)
        return h, h @ params["out"]
    h0 = jnp.zeros((xs.shape[1], params["out"].shape[0]))
    return lax.scan(step, h0, xs)[1]


def loss(params, waves):
    return jnp.mean((predict(params, waves[:-1]) - waves[1:]) ** 2)


@jax.jit
def train(params, waves):
    def step(carry, _):
        params, velocity = carry
        value, grads = jax.value_and_grad(loss)(params, waves)
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.05 * g, velocity, grads)
        return (jax.tree.map(jnp.add, params, velocity), velocity), value
    start = params, jax.tree.map(jnp.zeros_like, params)
    return lax.scan(step, start, length=80)


def main():
    phase = random.uniform(random.key(1), (8, 1), maxval=6.28)
    waves = jnp.sin(0.4 * jnp.arange(30.0)[:, None, None] + phase)
    params = init(random.key(0), 1, 12)
    (params, _), losses = train(params, waves)
    print("loss", losses[0], "->", losses[-1])
    short = jax.checkpoint(loss)
    close = lambda a, b: bool(jnp.allclose(a, b, atol=1e-5))
    same = jax.tree.map(close, jax.grad(loss)(params, waves), jax.grad(short)(params, waves))
    print("recomputing gives the same gradient:", jax.tree.all(same))
    return losses


if __name__ == "__main__":
    main()
