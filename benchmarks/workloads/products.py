"""Matrix products and convolutions of many shapes."""
from __future__ import annotations

from benchmarks.workload import Data, floats, generator, normal, program, swept, weights

SQUARES = (1, 3, 7, 17, 31, 65, 97, 129, 255, 257, 511, 1023)
OTHERS = ((10_000, 3, 3), (3, 10_000, 3), (1, 1000, 1000), (1000, 1000, 1), (1000, 1, 1000), (33, 4097, 65), (2049, 63, 9),
          (128, 784, 10))


def pair(m: int, k: int, n: int, dtype: str = "float32"):
    return normal(dtype, a=(m, k), b=(k, n))


def shapes(*sizes: tuple[int, int, int]) -> dict:
    return {f"{m}x{k}x{n}": pair(m, k, n) for m, k, n in sizes}


def product(n: int, **more):
    return program("products", f"product, {n}", pair(n, n, n), moved=floats(2 * n * n, n * n), flops=2 * n**3, **more)


@product(64, sweep=shapes(*((n, n, n) for n in SQUARES), *OTHERS) | {
    "257, float64": pair(257, 257, 257, "float64"), "257, complex64": pair(257, 257, 257, "complex64")})
@product(256)
@product(1024)
@product(2048)
def matmul(J, a, b):
    return a @ b


@swept(shapes((127, 1023, 65), (257, 257, 257), (10, 128, 784)))
def matmul_of_transposed(J, a, b):
    return J.numpy.matmul(a.T.copy().T, b) + J.numpy.matmul(b.T, a.T).T


@program("products", "batched product, 64x128x128", normal(a=(64, 128, 128), b=(64, 128, 128)),
         moved=floats(2 * 64 * 128**2, 64 * 128**2), flops=2 * 64 * 128**3,
         sweep={f"{b}x{n}": normal(a=(b, n, n), b=(b, n, n)) for b, n in ((1000, 3), (1000, 8), (333, 17), (10, 65), (3, 255))})
def batched_matmul(J, a, b):
    return a @ b


@program("products", "relu(x @ w + b), 512x784x512", normal(x=(512, 784), w=(784, 512), b=(512,)),
         moved=floats(2 * 512 * 784 + 512, 512 * 512), flops=2 * 512 * 784 * 512,
         sweep={f"{m}x{k}x{n}": normal(x=(m, k), w=(k, n), b=(n,)) for m, k, n in ((1, 784, 10), (33, 65, 17), (1000, 100, 7))})
def linear_relu(J, x, w, b):
    return J.numpy.maximum(x @ w + b, 0)


# --- convolutions: images NHWC, filters HWIO -----------------------------------------------------------------------------

def convolve(J, x, w, stride: int = 1, groups: int = 1):
    return J.lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                      feature_group_count=groups)


def images(batch: int, size: int, channels: int, features: int, width: int, groups: int = 1):
    def data() -> Data:
        rng = generator()
        return {"x": rng.standard_normal((batch, size, size, channels)).astype("float32"),
                "w": weights(rng, width, width, channels // groups, features)}
    return data


ODD = {f"{b}x{s}x{s}, {c} to {f}, {k}x{k}": images(b, s, c, f, k) for b, s, c, f, k in (
    (1, 7, 1, 1, 3), (3, 31, 3, 5, 3), (2, 65, 17, 33, 3), (1, 224, 3, 64, 7), (5, 13, 127, 65, 1), (16, 28, 1, 20, 5))}


@program("convolutions", "3x3, 64 to 64, 32x32x32", images(32, 32, 64, 64, 3), flops=2 * 32**3 * 9 * 64**2, sweep=ODD)
def conv(J, x, w):
    return convolve(J, x, w)


@program("convolutions", "3x3, 64 to 64, both gradients, 32x32x32", images(32, 32, 64, 64, 3), flops=6 * 32**3 * 9 * 64**2,
         sweep=ODD)
def conv_gradients(J, x, w):
    return J.value_and_grad(lambda x, w: J.numpy.sum(convolve(J, x, w) ** 2), argnums=(0, 1))(x, w)


@program("convolutions", "7x7 stride 2, 3 to 64, 8x112x112", images(8, 112, 3, 64, 7), flops=2 * 8 * 56**2 * 49 * 3 * 64)
def conv_stride(J, x, w):
    return convolve(J, x, w, stride=2)


@program("convolutions", "3x3 depthwise, 128 channels, 16x32x32", images(16, 32, 128, 128, 3, groups=128),
         moved=floats(16 * 32**2 * 128, 16 * 32**2 * 128), flops=2 * 16 * 32**2 * 9 * 128)
def conv_depthwise(J, x, w):
    return convolve(J, x, w, groups=128)


def block_data() -> Data:
    rng = generator()
    scale = lambda: rng.uniform(0.5, 1.5, 64).astype("float32")
    return {"x": rng.standard_normal((32, 32, 32, 64)).astype("float32"), "w1": weights(rng, 3, 3, 64, 64), "s1": scale(),
            "b1": weights(rng, 64), "w2": weights(rng, 3, 3, 64, 64), "s2": scale(), "b2": weights(rng, 64)}


@program("convolutions", "residual block, 64 channels, 32x32x32", block_data, flops=4 * 32**3 * 9 * 64**2)
def residual_block(J, x, w1, s1, b1, w2, s2, b2):
    relu = lambda z: J.numpy.maximum(z, 0)
    h = relu(convolve(J, x, w1) * s1 + b1)
    return relu(convolve(J, h, w2) * s2 + b2 + x)
