"""The classic listings give their known answers."""
from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "classics"


def result_of(number: int, **kwargs) -> dict:
    (script,) = FOLDER.glob(f"{number:02}_*.py")
    return runpy.run_path(str(script))["main"](**kwargs)


def test_computational_graph(capsys):
    assert result_of(1) == {"y": 229.0}
    assert "mul" in capsys.readouterr().out


def test_gradient_descent():
    result = result_of(2)
    assert len(result["x"]) == len(result["y"]) == 20
    x = [0.1, 0.16, 0.196, 0.2176, 0.23056, 0.238336, 0.243002, 0.245801]
    y = [4.0, 3.6, 3.456, 3.40416, 3.3855, 3.37878, 3.37636, 3.37549]
    np.testing.assert_allclose(result["x"][:8], x, rtol=5e-6)
    np.testing.assert_allclose(result["y"][:8], y, rtol=5e-6)
    assert abs(result["x"][-1] - 0.25) < 1e-4


def test_gradients_three_ways():
    result = result_of(3)
    assert result["c"] == pytest.approx(result["c_by_hand"], rel=1e-5)
    for way in ("hand", "grad", "vjp"):
        for found, expected in zip(result[way], (result["y"], result["x"], np.ones((3, 4), np.float32)), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_two_layer_net_static():
    result = result_of(4)
    np.testing.assert_allclose(result["losses"], result["by_hand"], rtol=1e-4)
    assert len(result["losses"]) == 50 and all(np.diff(result["losses"]) < 0)


def test_two_layer_net_dynamic():
    result = result_of(5)
    np.testing.assert_allclose(result["losses"], result["by_hand"], rtol=1e-3, atol=1e-4)
    assert len(result["losses"]) == 500 and result["losses"][-1] < 1e-9 * result["losses"][0]


def test_conditional():
    result = result_of(6)
    for z, w in result["w"].items():
        expected = result["x"] @ w
        np.testing.assert_allclose(result["if"][z], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result["cond"][z], expected, rtol=1e-5, atol=1e-6)
        d_x, d_w = 2 * expected @ w.T, result["x"].T @ (2 * expected)
        grads = [d_x, d_w, 0 * d_w] if z > 0 else [d_x, 0 * d_w, d_w]
        for way in ("grad_if", "grad_cond"):
            for found, gradient in zip(result[way][z], grads, strict=True):
                np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["vector", "batch"])
def test_recurrence(shape):
    result = result_of(7)[shape]
    y, xs, w = result["args"]
    ys, slopes_y, slopes_w = [], [], []
    d_y, d_w = np.ones_like(y), np.zeros_like(y)  # of y_t with respect to y_0 and w, forwards
    for x in xs:
        d_y, d_w, y = d_y * w, d_w * w + (y + x), (y + x) * w
        ys.append(y), slopes_y.append(d_y), slopes_w.append(d_w)
    np.testing.assert_allclose(result["loop"], ys, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result["scan"], ys, rtol=1e-5, atol=1e-6)
    ct = 2 * np.array(ys)
    expected_y = np.sum(ct * slopes_y, axis=0)
    expected_w = np.sum(ct * slopes_w, axis=0).reshape(-1, w.size).sum(axis=0)
    for way in ("grad_loop", "grad_scan"):
        np.testing.assert_allclose(result[way][0], expected_y, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(result[way][2], expected_w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result["grad_loop"][1], result["grad_scan"][1], rtol=1e-5, atol=1e-6)


def test_two_devices():
    assert result_of(8)["total"] == [[44, 56], [98, 128]]


def test_perceptron():
    result = result_of(9)
    assert result["step"] == 1.0 and result["sigmoid"] == 1.0
    assert result["losses"][0] == pytest.approx(np.log(2), rel=1e-6) and result["losses"][-1] < 0.1


def test_convolution_by_hand():
    result = result_of(15)
    assert result["features"] == result["by_loops"] == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]
    assert result["pooled"] == [[6, 8], [3, 4]]
    assert result["pool_gradient"] == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
