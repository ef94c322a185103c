"""Train a convolutional network on scikit-learn's 1,797 real handwritten digits: `make demo`.

Each epoch (shuffle, random shifts, and a scan over the mini-batches with dropout and Adam) is one compiled call.
"""
import argparse
import functools
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import figure
import model
import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, random, tools

BATCH, PEAK_RATE, SHIFT = 16, 2e-3, 1


def load():
    """Train, validation and test parts (64 %, 16 %, 20 %), each (images in [0, 1], labels)."""
    digits = load_digits()
    x = (digits.images[..., None] / 16).astype(np.float32)
    y = digits.target.astype(np.int32)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    return (x, y), (x_val, y_val), (x_test, y_test)


def shifted(key, images):
    """Each image moved by up to SHIFT pixels in each direction."""
    padded = jnp.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    corners = random.randint(key, (len(images), 2), 0, 2 * SHIFT + 1)
    return tj.vmap(lambda image, at: lax.dynamic_slice(image, (at[0], at[1], 0), images.shape[1:]))(padded, corners)


def train_step(state, batch, total):
    """One mini-batch: shifts, dropout, gradient, Adam with a cosine-shaped rate over `total` steps."""
    params, optimiser, key = state
    key, shift_key, dropout_key = random.split(key, 3)
    images, labels = batch
    value, grads = tj.value_and_grad(model.loss)(params, shifted(shift_key, images), labels, dropout_key)
    rate = PEAK_RATE * 0.5 * (1 + jnp.cos(jnp.pi * optimiser["step"] / total))
    params, optimiser = model.adam(params, grads, optimiser, rate)
    return (params, optimiser, key), value


@functools.partial(tj.jit, static_argnames="epochs", donate_argnums=0)
def train_epoch(state, images, labels, epochs):
    """A pass over the shuffled data: the new state and the mean loss."""
    params, optimiser, key = state
    key, shuffle_key = random.split(key)
    steps = len(images) // BATCH
    order = random.permutation(shuffle_key, len(images))[:steps * BATCH].reshape(steps, BATCH)
    step = functools.partial(train_step, total=epochs * steps)
    state, losses = lax.scan(step, (params, optimiser, key), (images[order], labels[order]))
    return state, jnp.mean(losses)


@tj.jit
def evaluate(params, images, labels):
    """Loss, predicted classes and accuracy."""
    predicted = jnp.argmax(model.logits_of(params, images), axis=-1)
    return model.loss(params, images, labels), predicted, jnp.mean(predicted == labels)


def train(data, validation, epochs, seed):
    """Train with a progress bar; the parameters, the losses of each epoch, and seconds per epoch."""
    init_key, key = random.split(random.key(seed))
    params = model.init_params(init_key)
    state = (params, model.init_adam(params), key)
    history = {"train_loss": [], "val_loss": [], "seconds": []}
    with tqdm(range(epochs), desc="epochs", unit="epoch") as bar:
        for _ in bar:
            start = time.perf_counter()
            state, value = train_epoch(state, *data, epochs)
            history["train_loss"].append(float(value))
            history["seconds"].append(time.perf_counter() - start)
            val_loss, _, accuracy = evaluate(state[0], *validation)
            history["val_loss"].append(float(val_loss))
            bar.set_postfix(loss=f"{float(value):.3f}", validation=f"{100 * float(accuracy):.1f} %")
    return state[0], history


def report(history, steps):
    stats = tools.stats()
    first, rest = history["seconds"][0], np.median(history["seconds"][1:] or history["seconds"])
    print(f"compiled: {stats['kernels']} kernels in {stats['compile_ms']:.0f} ms, {stats['cache_hits']} cache hits")
    print(f"first epoch: {first:.2f} s with compilation; then {1e3 * rest / steps:.2f} ms per step of {BATCH} images")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent.parent / "output" / "digits.png")
    args = parser.parse_args(argv)
    data, validation, (x_test, y_test) = load()
    params, history = train(data, validation, args.epochs, args.seed)
    _, predicted, accuracy = evaluate(params, x_test, y_test)
    figure.save(args.figure, history, x_test, y_test, np.asarray(predicted))
    report(history, len(data[0]) // BATCH)
    print(f"figure: {args.figure}")
    print(f"test accuracy: {100 * float(accuracy):.1f} %")
    return float(accuracy)


if __name__ == "__main__":
    main()
