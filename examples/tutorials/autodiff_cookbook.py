"""Pieces of JAX's autodiff cookbook: logistic regression, pytrees, Hessian-vector products, Jacobians by both modes."""
import numpy as np

import tracejit as jax
import tracejit.numpy as jnp
from tracejit import grad, jacfwd, jacrev, jvp, random, vjp, vmap

inputs = jnp.array([[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30], [0.74, -2.49, 1.39]])
targets = jnp.array([True, True, False, True])


def predict(W, b, inputs):
    return 0.5 * (jnp.tanh((jnp.dot(inputs, W) + b) / 2) + 1)


def loss(W, b):
    preds = predict(W, b, inputs)
    label_probs = preds * targets + (1 - preds) * (1 - targets)
    return -jnp.sum(jnp.log(label_probs))


def loss2(params_dict):
    return loss(params_dict["W"], params_dict["b"])


def hvp(f, primals, tangents):
    return jvp(grad(f), primals, tangents)[1]


def hvp_revrev(f, x, v):
    return grad(lambda x: jnp.vdot(grad(f)(x), v))(x)


def vgrad(f, x):
    y, vjp_fn = vjp(f, x)
    return vjp_fn(jnp.ones(y.shape))[0]


def main():
    key, W_key, b_key = random.split(random.key(0), 3)
    W, b = random.normal(W_key, (3,)), random.normal(b_key, ())
    W_grad, b_grad = grad(loss, (0, 1))(W, b)
    print("gradients", W_grad, b_grad)
    print("of a dict", grad(loss2)({"W": W, "b": b}))

    eps = 1e-3
    numerical = (loss(W, b + eps / 2) - loss(W, b - eps / 2)) / eps
    print("b numerically:", bool(jnp.allclose(numerical, b_grad, atol=1e-2)))

    f = lambda W: predict(W, b, inputs)
    print("Jacobians agree:", bool(jnp.allclose(jacfwd(f)(W), jacrev(f)(W), atol=1e-6)), jacfwd(f)(W).shape)

    g = lambda X: jnp.sum(jnp.tanh(X) ** 2)
    X, V = random.normal(key, (30, 40)), random.normal(W_key, (30, 40))
    full = jnp.tensordot(jax.hessian(g)(X[:3, :4]), V[:3, :4], 2)
    print("Hessian-vector products agree:", bool(jnp.allclose(hvp(g, (X,), (V,)), hvp_revrev(g, X, V), atol=1e-4)),
          bool(jnp.allclose(full, hvp(g, (X[:3, :4],), (V[:3, :4],)), atol=1e-4)))

    print("a gradient of all ones", vgrad(lambda x: 3 * x**2, jnp.ones((2, 2))))
    U = random.normal(key, (5, 3))
    by_rows = vmap(lambda u: jvp(f, (W,), (u,))[1])(U)
    print("many directions at once:", bool(jnp.allclose(by_rows, U @ jacrev(f)(W).T, atol=1e-5)))

    A = jnp.array([[5.0, 2.0, 3.0, 5.0, 2.0], [0, 1.0, 2.0, 1.0, 1.0], [1.0, 4.0, 3.0, 2.0, 2.0], [2.0, 1.0, 4.0, 7.0, 1.0],
                   [3.0, 1.0, 1.0, 1.0, 4.0]])
    complex_slope = grad(lambda z: jnp.real(z * jnp.conj(z)), holomorphic=False)(3.0 + 4j)
    print("complex", complex_slope, grad(jnp.sin, holomorphic=True)(3.0 + 4j))
    print("through linear algebra", np.round(grad(lambda m: jnp.linalg.slogdet(m)[1])(A)[0], 4))


if __name__ == "__main__":
    main()
