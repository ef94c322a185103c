"""A multilayer perceptron from scratch, with vmap for the batch: JAX's tutorial, on made-up digits."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import grad, jit, random, vmap
from tracejit.scipy.special import logsumexp


def random_layer_params(m, n, key, scale=1e-1):
    w_key, b_key = random.split(key)
    return scale * random.normal(w_key, (n, m)), scale * random.normal(b_key, (n,))


def init_network_params(sizes, key):
    keys = random.split(key, len(sizes))
    return [random_layer_params(m, n, k) for m, n, k in zip(sizes[:-1], sizes[1:], keys)]


def predict(params, image):
    activations = image
    for w, b in params[:-1]:
        activations = jax.nn.relu(jnp.dot(w, activations) + b)
    final_w, final_b = params[-1]
    logits = jnp.dot(final_w, activations) + final_b
    return logits - logsumexp(logits)


batched_predict = vmap(predict, in_axes=(None, 0))


def accuracy(params, images, targets):
    return jnp.mean(jnp.argmax(batched_predict(params, images), axis=1) == jnp.argmax(targets, axis=1))


def loss(params, images, targets):
    return -jnp.mean(batched_predict(params, images) * targets)


@jit
def update(params, x, y, step_size=0.5):
    grads = grad(loss)(params, x, y)
    return [(w - step_size * dw, b - step_size * db) for (w, b), (dw, db) in zip(params, grads)]


def main():
    params = init_network_params([64, 32, 10], random.key(0))
    centres = random.normal(random.key(1), (10, 64))
    labels = random.randint(random.key(2), (512,), 0, 10)
    images = centres[labels] + 0.5 * random.normal(random.key(3), (512, 64))
    targets = jax.nn.one_hot(labels, 10)
    for epoch in range(6):
        for i in range(0, 512, 64):
            params = update(params, images[i:i + 64], targets[i:i + 64])
        print(f"epoch {epoch}: accuracy {accuracy(params, images, targets):.3f}")
    return accuracy(params, images, targets)


if __name__ == "__main__":
    main()
