"""Hamiltonian and random-walk Monte Carlo for Bayesian logistic regression: chains by vmap, steps by lax.scan."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import lax, random
from tracejit.scipy import stats


def make_data(key):
    k1, k2 = random.split(key)
    x = random.normal(k1, (100, 2))
    truth = jnp.array([1.5, -0.7])
    return x, random.bernoulli(k2, jax.nn.sigmoid(x @ truth))


x, y = make_data(random.key(0))


def log_density(w):
    logits = x @ w
    likelihood = jnp.where(y, -jnp.logaddexp(0.0, -logits), -jnp.logaddexp(0.0, logits))
    return jnp.sum(likelihood) + jnp.sum(stats.norm.logpdf(w, scale=3.0))


def accept(key, new, old, log_ratio):
    taken = jnp.log(random.uniform(key)) < log_ratio
    return jnp.where(taken, new, old), taken


def random_walk(key, w):
    k1, k2 = random.split(key)
    new = w + 0.25 * random.normal(k1, w.shape)
    return accept(k2, new, w, log_density(new) - log_density(w))


def hamiltonian(key, w, step=0.12, n=8):
    k1, k2 = random.split(key)
    momentum = random.normal(k1, w.shape)

    def leapfrog(_, state):
        w, p = state
        p = p + 0.5 * step * jax.grad(log_density)(w)
        w = w + step * p
        return w, p + 0.5 * step * jax.grad(log_density)(w)
    new, p = lax.fori_loop(0, n, leapfrog, (w, momentum))
    energy = lambda w, p: log_density(w) - 0.5 * jnp.sum(p**2)
    return accept(k2, new, w, energy(new, p) - energy(w, momentum))


def sample(kernel, key, start, n):
    def step(w, key):
        w, taken = kernel(key, w)
        return w, (w, taken)
    return lax.scan(step, start, random.split(key, n))[1]


def main():
    for name, kernel, n in (("random walk", random_walk, 1500), ("Hamiltonian", hamiltonian, 500)):
        chains = jax.jit(jax.vmap(lambda key, start, kernel=kernel, n=n: sample(kernel, key, start, n)))
        draws, taken = chains(random.split(random.key(1), 4), random.normal(random.key(2), (4, 2)))
        kept = draws[:, n // 4:].reshape(-1, 2)
        print(f"{name}: mean {jnp.round(kept.mean(0), 1)}, accepted {taken.mean():.1f}")
    return kept.mean(0)


if __name__ == "__main__":
    main()
