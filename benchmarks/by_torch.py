"""The workloads in PyTorch: eager, and through torch.compile."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.workload import M, Data, Run
from benchmarks.workloads.networks import ADAM_RATE, MOMENTUM, RATE, WIDTH
from benchmarks.workloads.transforms import FEW, MANY, repeated

Compile = Callable[[Callable], Callable]
VERSIONS: dict[str, Callable[[Compile, Data], Run]] = {}
EAGER_ONLY = {"eager_add", "eager_formula", "eager_formula_large"}
COMPILED_ONLY = {"call", "call_tree"}       # eager calls are rows of their own


def tensors(data: Any) -> Any:
    return torch.utils._pytree.tree_map(lambda a: torch.from_numpy(np.ascontiguousarray(a).reshape(np.shape(a))), data)


def version(function: Callable) -> Callable:
    """A function of tensors, run without recording gradients."""
    def build(compile: Compile, data: Data) -> Run:
        compiled, args = compile(function), list(tensors(data).values())

        def run() -> Any:
            with torch.no_grad():
                return compiled(*args)
        return run
    VERSIONS[function.__name__] = build
    return function


def plain(*names: str) -> Callable[[Callable], Callable]:
    """A function of tensors that uses transforms of torch.func, or one under several names."""
    def decorate(function: Callable) -> Callable:
        for name in names:
            VERSIONS[name] = lambda compile, data: (lambda f, args: lambda: f(*args))(
                compile(function), list(tensors(data).values()))
        return function
    return decorate


def builder(build: Callable[[Compile, Data], Run]) -> Callable:
    VERSIONS[build.__name__] = build
    return build


def differentiated(loss: Callable, inputs: list, *rest: Any) -> Run:
    """loss(inputs..., rest...) and its gradients."""
    leaves = [t.requires_grad_() for t in inputs]

    def run() -> Any:
        value = loss(*leaves, *rest)
        return (value.detach(), *torch.autograd.grad(value, leaves))
    return run


# --- elementwise, normalisations, distances, reductions ------------------------------------------------------------------

@version
def chain(x):
    return torch.sin(x) * torch.exp(-x * x) + torch.tanh(x) * 0.5 + torch.sqrt(torch.abs(x))


@version
def multiply_add(a, b):
    return torch.addcmul(a, a, b)


@builder
def gelu_and_slope(compile, data):
    return differentiated(compile(lambda x: F.gelu(x).sum()), [tensors(data)["x"]])


@version
def strided(x):
    x = x[::2, ::3]
    return torch.exp(x) + x * 0.5


@version
def transposed(x):
    return (x.transpose(-1, -2) * 2.0).contiguous()


@version
def broadcast(x, y, z):
    return (x - y) * z


@version
def black_scholes(s, k, t):
    below = lambda z: 0.5 * (1 + torch.erf(z * 0.5**0.5))
    spread = 0.3 * torch.sqrt(t)
    d1 = (torch.log(s / k) + (0.02 + 0.5 * 0.3**2) * t) / spread
    discounted = k * torch.exp(-0.02 * t)
    call = s * below(d1) - discounted * below(d1 - spread)
    return call, call - s + discounted


@version
def softmax_rows(x):
    return torch.softmax(x, -1)


@version
def softmax_columns(x):
    return torch.softmax(x, 0)


@builder
def layer_norm_passes(compile, data):
    x, scale, shift, ct = tensors(data).values()
    leaves = [t.requires_grad_() for t in (x, scale, shift)]
    f = compile(lambda x, scale, shift: F.layer_norm(x, scale.shape, scale, shift))

    def run() -> Any:
        y = f(*leaves)
        return (y.detach(), *torch.autograd.grad(y, leaves, ct))
    return run


@version
def distances(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1).sqrt()


@version
def soft_nearest(x, y):
    return torch.logsumexp(-((x[:, None] - y[None]) ** 2).sum(-1).sqrt(), 1)


@version
def sum_columns(x):
    return x.sum(0)


@version
def sum_rows(x):
    return x.sum(1)


@version
def sum_all(x):
    return x.sum()


@version
def moments_columns(x):
    return torch.var_mean(x, 0, correction=0)[::-1]


@version
def moments_rows(x):
    return torch.var_mean(x, 1, correction=0)[::-1]


@version
def argmax_rows(x):
    return x.argmax(1)


@version
def largest_integer(x):
    return x.max()


@version
def erf_inv(x):
    return torch.erfinv(torch.tanh(x))


@version
def random_normal(seed):
    return torch.randn(10 * M)


@version
def random_uniform(seed):
    return torch.rand(10 * M)


@version
def random_permutation(seed):
    return torch.randperm(M)


# --- products, convolutions ----------------------------------------------------------------------------------------------

@version
def matmul(a, b):
    return a @ b


@version
def batched_matmul(a, b):
    return a @ b


@version
def matmul_of_transposed(a, b):
    return a @ b + (b.T @ a.T).T


@version
def linear_relu(x, w, b):
    return torch.relu(torch.addmm(b, x, w))


def channels_last(x):
    """NHWC memory as torch's images."""
    return x.permute(0, 3, 1, 2)


def filters(w):
    """HWIO -> OIHW, in the memory format that the CPU kernels want."""
    return w.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def convolution(stride: int = 1, groups: int = 1) -> Callable:
    def build(compile: Compile, data: Data) -> Run:
        x, w = channels_last(tensors(data)["x"]), filters(tensors(data)["w"])
        total = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(x.shape[2:], w.shape[2:])]
        low = [t // 2 for t in total]
        even = all(t % 2 == 0 for t in total)
        pads = (low[1], total[1] - low[1], low[0], total[0] - low[0])

        def convolve(x):
            x, padding = (x, low) if even else (F.pad(x, pads), 0)
            return F.conv2d(x, w, stride=stride, padding=padding, groups=groups).permute(0, 2, 3, 1)
        f = compile(convolve)

        def run() -> Any:
            with torch.no_grad():
                return f(x)
        return run
    return build


VERSIONS |= {"conv": convolution(), "conv_stride": convolution(stride=2), "conv_depthwise": convolution(groups=128)}


@builder
def conv_gradients(compile, data):
    x, w = channels_last(tensors(data)["x"]), filters(tensors(data)["w"])
    run = differentiated(compile(lambda x, w: (F.conv2d(x, w, padding=w.shape[-1] // 2) ** 2).sum()), [x, w])

    def in_our_layout() -> Any:
        value, dx, dw = run()
        return value, dx.permute(0, 2, 3, 1), dw.permute(2, 3, 1, 0)
    return in_our_layout


@builder
def residual_block(compile, data):
    a = tensors(data)
    w1, w2 = filters(a["w1"]), filters(a["w2"])
    s1, b1, s2, b2 = (a[k].reshape(1, -1, 1, 1) for k in ("s1", "b1", "s2", "b2"))

    def forward(x):
        h = F.relu(F.conv2d(x, w1, padding=1) * s1 + b1)
        return F.relu(F.conv2d(h, w2, padding=1) * s2 + b2 + x).permute(0, 2, 3, 1)
    f, x = compile(forward), channels_last(a["x"])

    def run() -> Any:
        with torch.no_grad():
            return f(x)
    return run


# --- training --------------------------------------------------------------------------------------------------------------

def training(params: list, loss: Callable, optimizer: Callable, *batch: Any) -> Run:
    """A step as one writes it: forward and backward (compiled or not), then torch's fused optimizer."""
    leaves = [p.requires_grad_() for p in params]
    optimizer = optimizer(leaves)

    def run() -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = loss(*batch)
        value.backward()
        optimizer.step()
        return (value.detach(),)
    return run


def momentum(params: list, rate: float = RATE) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=rate, momentum=MOMENTUM, fused=True)


def adam(params: list) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=ADAM_RATE, fused=True)


def perceptron(params, x):
    for w, b in params[:-1]:
        x = torch.relu(torch.addmm(b, x, w))
    return torch.addmm(params[-1][1], x, params[-1][0])


def perceptron_step(optimizer: Callable) -> Callable:
    def build(compile: Compile, data: Data) -> Run:
        a = tensors(data)
        params = [tuple(pair) for pair in a["params"]]
        loss = compile(lambda x, y: F.cross_entropy(perceptron(params, x), y))
        return training([t for pair in params for t in pair], loss, optimizer, a["x"], a["y"].long())
    return build


VERSIONS |= {"perceptron_momentum": perceptron_step(momentum), "perceptron_adam": perceptron_step(adam),
             "small_perceptron_adam": perceptron_step(adam)}


@builder
def cnn_momentum(compile, data):
    a = tensors(data)
    convolutions, dense = a["params"]
    convolutions = [(filters(w), b) for w, b in convolutions]

    def loss(x, y):
        for w, b in convolutions:
            x = F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=2)), 2)
        return F.cross_entropy(perceptron(dense, x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)), y)
    params = [t for pair in [*convolutions, *dense] for t in pair]
    return training(params, compile(loss), momentum, channels_last(a["x"]), a["y"].long())


def recurrent(layer: type) -> Callable:
    def build(compile: Compile, data: Data) -> Run:
        x, wx, wh, bx, bh = tensors(data).values()
        module = layer(WIDTH, WIDTH)
        with torch.no_grad():
            for own, given in zip((module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0),
                                  (wx.T, wh.T, bx, bh)):
                own.copy_(given)
        leaves, loss = [module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0], \
            compile(lambda x: (module(x)[0] ** 2).mean())

        def run() -> Any:
            value = loss(x)
            dwx, dwh, dbx, dbh = torch.autograd.grad(value, leaves)
            return value.detach(), (dwx.T, dwh.T, dbx, dbh)
        return run
    return build


VERSIONS |= {"lstm": recurrent(torch.nn.LSTM), "gru": recurrent(torch.nn.GRU)}


def block(params, x, heads):
    scale1, shift1, qkv, proj, scale2, shift2, up, up_bias, down, down_bias = params
    b, t, c = x.shape
    h = F.layer_norm(x, (c,), scale1, shift1)
    q, k, v = (h @ qkv).reshape(b, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c) @ proj
    return x + F.gelu(F.layer_norm(x, (c,), scale2, shift2) @ up + up_bias) @ down + down_bias


@builder
def block_momentum(compile, data):
    a = tensors(data)
    params = list(a["params"])
    return training(params, compile(lambda x, y: F.mse_loss(block(params, x, 8), y)), lambda p: momentum(p, rate=0.1),
                    a["x"], a["y"])


@version
def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@builder
def gpt(compile, data):
    a = tensors(data)
    words, places, blocks, scale, shift, head = a["params"]
    x, y = a["x"].long(), a["y"].long()

    def loss(*_):
        h = F.embedding(x, words) + places
        for params in blocks:
            h = block(params, h, 4)
        return F.cross_entropy((F.layer_norm(h, h.shape[-1:], scale, shift) @ head).flatten(0, 1), y.flatten())
    return differentiated(compile(loss), torch.utils._pytree.tree_leaves(a["params"]))


# --- transforms, calls -----------------------------------------------------------------------------------------------------

@builder
def example_gradients(compile, data):
    a = tensors(data)
    loss = lambda params, x, y: F.cross_entropy(perceptron(params, x[None]), y[None])
    f = compile(torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0)))
    return lambda: f(a["params"], a["x"], a["y"].long())


@plain("rosenbrock_hessian")
def hessian(x):
    return torch.func.hessian(lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())(x)


def tanh_net(params, x):
    for w, b in params[:-1]:
        x = torch.tanh(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


@plain("jacobian_forwards")
def jacobian_forwards(x, params):
    return torch.func.jacfwd(lambda x: tanh_net(params, x))(x)


@plain("jacobian_backwards")
def jacobian_backwards(x, params):
    return torch.func.jacrev(lambda x: tanh_net(params, x))(x)


def called(f: Callable, x: Any, n: int) -> Run:
    run = repeated(f, x, n)
    return torch.no_grad()(run)


@builder
def call(compile, data):
    return called(compile(lambda x: x + 1), tensors(data)["x"], MANY)


@builder
def call_tree(compile, data):
    return called(compile(lambda tree: {k: v + 1 for k, v in tree.items()}), tensors(data), FEW)


@builder
def eager_add(compile, data):
    return called(lambda x: x + 1, tensors(data)["x"], MANY)


def formula(x):
    y = torch.sin(x) * 2 + x
    return torch.exp(-y * y) + torch.tanh(y) - torch.abs(x)


@builder
def eager_formula(compile, data):
    return called(formula, tensors(data)["x"], FEW)


@version
def eager_formula_large(x):
    return formula(x)


# --- loops: a Python loop over the compiled step -----------------------------------------------------------------------------

def slope(s):
    x, y, z = s.unbind(-1)
    return torch.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z], -1)


def rk4(s, dt=0.01):
    k1 = slope(s)
    k2 = slope(s + dt / 2 * k1)
    k3 = slope(s + dt / 2 * k2)
    k4 = slope(s + dt * k3)
    return s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def stepped(step: Callable, start: Any, n: int) -> Run:
    @torch.no_grad()
    def run() -> Any:
        value = start
        for _ in range(n):
            value = step(value)
        return value
    return run


@builder
def lorenz_paths(compile, data):
    return stepped(compile(rk4), tensors(data)["s"], 1000)


@builder
def lorenz_gradient(compile, data):
    step = compile(rk4)

    def end(s):
        for _ in range(100):
            s = step(s)
        return (s * s).sum(-1)
    s = tensors(data)["s"].requires_grad_()

    def run() -> Any:
        values = end(s)
        return values.detach(), *torch.autograd.grad(values.sum(), s)
    return run


def diffused(u):
    return u + 0.1 * (torch.roll(u, 1, 0) + torch.roll(u, -1, 0) + torch.roll(u, 1, 1) + torch.roll(u, -1, 1) - 4 * u)


@builder
def heat_gradient(compile, data):
    step = compile(diffused)

    def energy(u):
        for _ in range(50):
            u = step(u)
        return (u * u).sum()
    return differentiated(energy, [tensors(data)["u"]])


@builder
def newton(compile, data):
    x = tensors(data)["x"]

    def step(x, y):
        following = 0.5 * (y + x / y)
        return following, ((following - y).abs() / following).max()
    step = compile(step)

    @torch.no_grad()
    def run() -> Any:
        y, error = x, 1.0
        while error > 1e-6:
            y, error = step(x, y)
        return y
    return run


@builder
def mandelbrot(compile, data):
    a = tensors(data)

    def step(x, y, count, re, im):
        x2, y2 = x * x, y * y
        inside = x2 + y2 <= 4
        return torch.where(inside, x2 - y2 + re, x), torch.where(inside, 2 * x * y + im, y), count + inside
    step = compile(step)

    @torch.no_grad()
    def run() -> Any:
        x = y = torch.zeros_like(a["re"])
        count = torch.zeros(a["re"].shape, dtype=torch.int32)
        for _ in range(100):
            x, y, count = step(x, y, count, a["re"], a["im"])
        return count
    return run


@builder
def matrix_chain(compile, data):
    a, step = tensors(data)["a"], compile(lambda c, m: torch.tanh(c @ m))

    @torch.no_grad()
    def run() -> Any:
        c = torch.eye(16)
        for m in a:
            c = step(c, m)
        return c
    return run


@builder
def heat_slices(compile, data):
    def step(u):
        inner, new = u[1:-1, 1:-1], u.clone()
        new[1:-1, 1:-1] = inner + 0.1 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner)
        return new
    return stepped(compile(step), tensors(data)["u"], 100)


@builder
def heat_rolls(compile, data):
    return stepped(compile(diffused), tensors(data)["u"], 100)


# --- indexing, linear algebra ----------------------------------------------------------------------------------------------

@version
def embedding(table, ids, ct):
    return F.embedding(ids, table)


@builder
def embedding_gradient(compile, data):
    table, ids, ct = tensors(data).values()
    table.requires_grad_()
    loss = compile(lambda table, ids, ct: (F.embedding(ids, table) * ct).sum())
    return lambda: torch.autograd.grad(loss(table, ids, ct), table)


@version
def segment_sum(x, ids):
    return torch.zeros(10_000).index_add_(0, ids, x)


@version
def sort(x):
    return torch.sort(x).values


@version
def argsort(x):
    return torch.argsort(x)


@version
def cumsum(x):
    return torch.cumsum(x, 0)


@version
def cumsum_columns(x):
    return torch.cumsum(x, 0)


@version
def top_k(x):
    return tuple(torch.topk(x, 10))


@version
def cholesky(a):
    return torch.linalg.cholesky(a)


@version
def cholesky_small(a):
    return torch.linalg.cholesky(a)


@version
def solve(a, b):
    return torch.linalg.solve(a, b)


@version
def solve_small(a, b):
    return torch.linalg.solve(a, b)


@version
def svd(a):
    return tuple(torch.linalg.svd(a))


@version
def eigh(a):
    return tuple(torch.linalg.eigh(a))


@version
def fft(x):
    return torch.fft.fft(x)


@version
def rfft(x):
    return torch.fft.rfft(x)


# --- compilation -------------------------------------------------------------------------------------------------------------

def elementwise_chain(n: int) -> Callable:
    def chain(x):
        steps = (torch.sin, lambda x: x * 1.01, lambda x: x + 0.125, torch.tanh)
        for k in range(n):
            x = steps[k % 4](x)
        return x
    return chain


def product_chain(n: int) -> Callable:
    def chain(x, w):
        for k in range(n):
            x = torch.tanh(x) if k % 2 else x @ w
        return x
    return chain


for n in (10, 100, 1000, 5000):
    plain(f"elementwise_chain_{n}")(elementwise_chain(n))
    plain(f"product_chain_{n}")(product_chain(n))
plain("small_formula")(lambda x: x * 1.25 + x)
