"""Transforms of functions, and the price of a call: dispatch of compiled functions, pytrees and eager operators."""
from __future__ import annotations

from benchmarks.workload import M, Data, custom, floats, normal, on_device, program
from benchmarks.workloads.networks import cross_entropy, dense_params, generator, perceptron, perceptron_data

EACH = 784 * 256 + 256 * 256 + 256 * 10


@program("transforms", "gradients of 64 single examples, 784-256-256-10", perceptron_data((784, 256, 256, 10), 64),
         moved=floats(0, 64 * EACH))
def example_gradients(J, params, x, y):
    loss = lambda p, x, y: cross_entropy(J, perceptron(J, p, x[None]), y[None])
    return J.vmap(J.grad(loss), in_axes=(None, 0, 0))(params, x, y)


@program("transforms", "Hessian of Rosenbrock's function, 100", normal(x=(100,), scale=0.5),
         sweep={str(n): normal(x=(n,), scale=0.5) for n in (2, 7, 257)})
def rosenbrock_hessian(J, x):
    valley = lambda x: J.numpy.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return J.hessian(valley)(x)


def net_data() -> Data:
    rng = generator()
    return {"x": rng.standard_normal(100).astype("float32"), "params": dense_params(rng, (100, 256, 256, 100))}


JACOBIAN_FLOPS = 2 * 100 * (100 * 256 + 256 * 256 + 256 * 100)


def tanh_net(J, params, x):
    for w, b in params[:-1]:
        x = J.numpy.tanh(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


@program("transforms", "Jacobian forwards, 100-256-256-100", net_data, flops=JACOBIAN_FLOPS)
def jacobian_forwards(J, x, params):
    return J.jacfwd(lambda x: tanh_net(J, params, x))(x)


@program("transforms", "Jacobian backwards, 100-256-256-100", net_data, flops=JACOBIAN_FLOPS)
def jacobian_backwards(J, x, params):
    return J.jacrev(lambda x: tanh_net(J, params, x))(x)


# --- calls ---------------------------------------------------------------------------------------------------------------

MANY, FEW = 1000, 100


def repeated(f, x, n):
    def run():
        y = x
        for _ in range(n):
            y = f(y)
        return y
    return run


def formula(np, x):
    """Ten operators."""
    y = np.sin(x) * 2 + x
    return np.exp(-y * y) + np.tanh(y) - np.abs(x)


EIGHT = normal(x=(8,))


@custom("calls", "jitted x + 1, 8 floats", EIGHT, calls=MANY)
def call(J, data):
    return repeated(J.jit(lambda x: x + 1), J.numpy.asarray(data["x"]), MANY)


@custom("calls", "jitted map over a dict of 50 arrays", normal(**{f"p{i:02}": (8,) for i in range(50)}), calls=FEW)
def call_tree(J, data):
    return repeated(J.jit(lambda tree: J.tree_util.tree_map(lambda v: v + 1, tree)), on_device(J, data), FEW)


@custom("calls", "eager x + 1, 8 floats", EIGHT, calls=MANY)
def eager_add(J, data):
    return repeated(lambda x: x + 1, J.numpy.asarray(data["x"]), MANY)


# Repeated a hundred times the formula is chaotic.
@custom("calls", "ten eager operators, 8 floats", EIGHT, calls=FEW, compared="finite")
def eager_formula(J, data):
    return repeated(lambda x: formula(J.numpy, x), J.numpy.asarray(data["x"]), FEW)


@custom("calls", "ten eager operators, 1M", normal(x=(M,)))
def eager_formula_large(J, data):
    x = J.numpy.asarray(data["x"])
    return lambda: formula(J.numpy, x)
