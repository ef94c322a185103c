"""Minimise y = a x^2 + b x + c by gradient descent from x = 0, rate 0.02, 20 steps: one compiled scan."""
import tracejit as tj
from tracejit import lax

A, B, C, RATE, STEPS = 10.0, -5.0, 4.0, 0.02, 20


def y(x):
    return A * x * x + B * x + C


def step(x, _):
    value, slope = tj.value_and_grad(y)(x)
    x = x - RATE * slope
    return x, (x, value)


@tj.jit
def minimise(x):
    return lax.scan(step, x, None, length=STEPS)[1]


def main():
    xs, ys = minimise(0.0)
    for i, (x, value) in enumerate(zip(xs, ys)):
        print(f"step {i + 1:2}: x = {x:.6f}, y before = {value:.6g}")
    return {"x": [float(x) for x in xs], "y": [float(value) for value in ys]}


if __name__ == "__main__":
    main()
