"""Whole programs that combine what the other tests look at one by one."""
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

FLOAT0 = tj.float0


@pytest.mark.parametrize("loop", [
    lambda: lax.while_loop(lambda c: c < 3, lambda c: c + .5, 0),
    lambda: lax.scan(lambda c, _: (c + .5, None), 0, None, length=6)[0],
    lambda: lax.fori_loop(0, 6, lambda i, c: c + .5, 0),
    lambda: lax.fori_loop(0, jnp.int32(6), lambda i, c: c + .5, 0),
])
def test_a_weak_integer_carry_that_meets_floats_becomes_one(loop):
    result = loop()
    assert result == 3 and result.dtype == np.float32 and not result.weak_type


def test_carries_that_swap_promote_together():
    (a, b), ys = lax.scan(lambda c, x: ((c[1], c[0] + x), c[0]), (0, 1.), jnp.arange(3))
    assert a.dtype == b.dtype == ys.dtype == np.float32 and (a, b) == (2, 2) and ys.tolist() == [0, 1, 0]


@pytest.mark.parametrize("body, start", [
    (lambda c: jnp.int32(1), .5), (lambda c: c + 1.5, jnp.int32(0)), (lambda c: c + 1, False),
])
def test_a_carry_is_never_truncated(body, start):
    with pytest.raises(TypeError, match="the dtypes do not match"):
        lax.fori_loop(0, 3, lambda i, c: body(c), start)


def test_branches_are_never_truncated():
    with pytest.raises(TypeError, match="must have equal output types"):
        lax.cond(True, lambda: 1.5, lambda: jnp.int32(2))


def test_float0_passes_through_jit_and_vmap():
    loss = lambda p: jnp.sum(p["w"]) * jnp.sum(p["n"])
    p = {"w": jnp.ones((3, 4)), "n": jnp.arange(3)}
    step = tj.jit(tj.grad(loss, allow_int=True))
    for _ in range(3):
        g = step(p)
        assert g["n"].dtype == FLOAT0 and g["n"].shape == (3,) and g["w"].shape == (3, 4)
    g = tj.jit(tj.vmap(tj.grad(loss, allow_int=True), in_axes=({"w": 0, "n": None},), out_axes=-1))(p)
    assert g["n"].dtype == FLOAT0 and g["n"].shape == (3, 3) and g["w"].shape == (4, 3)
    _, tangent = tj.vmap(lambda x: tj.jvp(lambda x: (x, 3), (x,), (x,))[1])(jnp.ones(5))
    assert tangent.dtype == FLOAT0 and tangent.shape == (5,)
    _, jac = tj.jacfwd(lambda x: (x, x.astype(int)))(jnp.ones(2))
    assert jac.dtype == FLOAT0 and jac.shape == (2, 2)


def test_out_axes_beyond_the_result_are_refused():
    with pytest.raises(ValueError, match="out_axes names axis 3"):
        tj.vmap(lambda x: x, out_axes=3)(jnp.ones((3, 4)))


def test_wide_python_ints_do_not_wrap():
    for f in (lambda x: x + 2**40, lambda x: x < 2**40, lambda x: jnp.maximum(x, 3000000000)):
        with pytest.raises(OverflowError, match="does not fit in int32"):
            tj.jit(f)(jnp.int32(1))
        with pytest.raises(OverflowError, match="does not fit in int32"):
            f(jnp.int32(1))
    assert (jnp.asarray(np.arange(2)) + 2**40).tolist() == [2**40, 2**40 + 1]
    assert jnp.float32(1) * 2**40 == 2.0**40 and jnp.uint32(1) + 4000000000 == 4000000001
    assert tj.jit(lambda x: x ^ 0xdeadbeef)(jnp.uint32(0)) == 0xdeadbeef
    assert tj.jit(lambda x: x + 300)(jnp.uint8(1)) == 45


def test_round_without_digits_gives_integers():
    x = round(jnp.array([1.5, 2.5]))
    assert x.dtype == np.int32 and x.tolist() == [2, 2]
    assert round(jnp.array([1.55]), 1).dtype == np.float32
