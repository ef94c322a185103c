"""Convolution and 2x2 max-pooling on numbers small enough to check by hand."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

IMAGE = np.array([[1, 1, 1, 0, 0],
                  [0, 1, 1, 1, 0],
                  [0, 0, 1, 1, 1],
                  [0, 0, 1, 1, 0],
                  [0, 1, 1, 0, 0]], np.float32)
FILTER = np.array([[1, 0, 1],
                   [0, 1, 0],
                   [1, 0, 1]], np.float32)
POOL_INPUT = np.array([[1, 1, 2, 4],
                       [5, 6, 7, 8],
                       [3, 2, 1, 0],
                       [1, 2, 3, 4]], np.float32)


@tj.jit
def convolve(image, window):
    """One image, one channel: (H, W) and (h, w) -> (H - h + 1, W - w + 1)."""
    return lax.conv_general_dilated(image[None, None], window[None, None], (1, 1), "VALID")[0, 0]


@tj.jit
def max_pool(image):
    """The largest of each 2 x 2 block."""
    return lax.reduce_window(image, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID")


def convolve_by_loops(image, window):
    h, w = window.shape
    return np.array([[np.sum(image[i:i + h, j:j + w] * window) for j in range(image.shape[1] - w + 1)]
                     for i in range(image.shape[0] - h + 1)])


def main():
    gradient = tj.grad(lambda x: jnp.sum(max_pool(x)))(jnp.asarray(POOL_INPUT))
    return {"features": np.asarray(convolve(IMAGE, FILTER)).tolist(),
            "by_loops": convolve_by_loops(IMAGE, FILTER).tolist(),
            "pooled": np.asarray(max_pool(POOL_INPUT)).tolist(),
            "pool_gradient": np.asarray(gradient).tolist()}


if __name__ == "__main__":
    for name, value in main().items():
        print(name, *value, sep="\n  ")
