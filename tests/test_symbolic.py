"""Exported functions with sizes left open: called at many sizes, stored, refused where they are not one program."""
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, export, lax
from tracejit.ir.dims import Dim, evaluated, fitted


def struct(spec: str, dtype: str = "float32", **options) -> tj.ShapeDtypeStruct:
    return tj.ShapeDtypeStruct(export.symbolic_shape(spec, **options), dtype)


def model(x, w):
    y = jnp.tanh(x @ w)
    return {"y": y, "mean": y.mean(0), "flat": y.reshape(-1)[1:], "rows": jnp.arange(x.shape[0]), "soft": tj.nn.softmax(y, 0),
            "last": lax.scan(lambda c, row: (c + row, None), y[0], y)[0]}


def test_one_export_for_all_sizes() -> None:
    exported = export.export(tj.jit(model))(struct("b, h"), struct("h, 4"))
    assert repr(exported.in_avals) == "(f32[b,h], f32[h,4])" and "f32[4*b - 1]" in repr(exported.out_avals)
    loaded = export.deserialize(exported.serialize())
    assert loaded.in_avals == exported.in_avals and loaded.out_avals == exported.out_avals
    rng = np.random.default_rng(0)
    for b, h in ((1, 1), (3, 5), (5000, 2)):
        x, w = rng.normal(size=(b, h)).astype("f4"), rng.normal(size=(h, 4)).astype("f4")
        for made in (exported, loaded):
            tj.tree.map(lambda got, want: np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=2e-5, atol=1e-6),
                        made.call(x, w), model(x, w))
    with pytest.raises(errors.ShapeError, match="expected"):
        exported.call(np.ones((3, 5), "f4"), np.ones((6, 4), "f4"))
    with pytest.raises(errors.ShapeError):
        exported.call(np.ones(3, "f4"), np.ones((6, 4), "f4"))


def test_constraints_and_composed_sizes() -> None:
    halves = export.export(tj.jit(lambda x: x[::2].sum(0)))(struct("2*k, k*k + 1"))
    assert halves.call(np.ones((8, 17), "f4")).shape == (17,) and repr(halves.out_avals) == "(f32[k*k + 1],)"
    even = export.export(tj.jit(lambda x: x[::2]))(struct("b", constraints=["mod(b, 2) == 0", "b >= 4"]))
    assert even.call(np.arange(6, dtype="f4")).shape == (3,)
    for n in (5, 2):
        with pytest.raises(errors.ShapeError, match="do not satisfy"):
            even.call(np.zeros(n, "f4"))
    np.testing.assert_allclose(np.asarray(tj.grad(lambda x: even.call(x).sum())(jnp.ones(4))), [1, 0, 1, 0])
    assert tj.vmap(even.call)(jnp.ones((3, 8))).shape == (3, 4)


@pytest.mark.parametrize("f", [lambda x: x[::2], lambda x: x * 2 if x.shape[0] > 50 else x, lambda x: x + np.arange(x.shape[0])])
def test_what_is_not_one_program_is_refused(f) -> None:
    with pytest.raises(errors.InconclusiveDimensionOperation):
        export.export(tj.jit(f))(struct("b"))


def test_specs() -> None:
    assert export.symbolic_shape("(b, _, 3)", like=(1, 2, 3)) == (Dim({("b",): 1}), 2, 3) and export.symbolic_shape("2, 3") == (2, 3)
    specs = export.symbolic_args_specs(({"x": np.ones((4, 3), "f4")}, np.ones(2)), ("b, ...", None))
    assert repr(specs[0]["x"]) == "ShapeDtypeStruct(shape=(b, 3), dtype=float32)" and specs[1].shape == (2,)
    assert [export.is_symbolic_dim(d) for d in specs[0]["x"].shape] == [True, False]
    for bad in ("b + ", "f(b)", "b / 2", "_"):
        with pytest.raises(ValueError):
            export.symbolic_shape(bad)


def test_polynomials() -> None:
    b, c = Dim({("b",): 1}), Dim({("c",): 1})
    size = (b + 1) * (c - 2) - 3 * b
    assert size.value({"b": 4, "c": 7}) == 5 * 5 - 12 and size == b * c - 5 * b + c - 2 and repr(b * b - c) == "b*b - c"
    points = [{"b": i, "c": j} for i in (1, 2, 5, 6) for j in (2, 3, 7)]
    assert fitted(points, [size.value(p) for p in points]) == size and fitted(points, [p["b"] // 2 for p in points]) is None
    assert Dim({("b",): Fraction(1, 2)}).value({"b": 6}) == 3 and evaluated("floordiv(a, 2) < max(a, 1)", {"a": 5})


def test_comparisons() -> None:
    b, c = export.symbolic_shape("b, c", constraints=["c >= 4"])
    assert b >= 1 and b + 1 > b and c > 3 and b * c >= b and not b + c < 5 and not b - c * b > 0
    for inconclusive in (lambda: b > 1, lambda: b >= c, lambda: c <= 4, lambda: b * b > b):
        with pytest.raises(errors.InconclusiveDimensionOperation, match="inconclusive"):
            inconclusive()


def test_functions_for_some_sizes_only_are_refused() -> None:
    with pytest.raises(errors.InconclusiveDimensionOperation, match="not defined for all sizes"):
        export.export(tj.jit(lambda x: x.reshape(3, -1)))(struct("n, 2"))
