"""Rotations and their interpolation against SciPy."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import transform as reference

import tracejit
import tracejit.numpy as jnp
from tracejit import random
from tracejit.scipy.spatial.transform import Rotation, Slerp

RNG = np.random.RandomState(0)
QUATERNIONS, VECTORS = RNG.randn(6, 4), RNG.randn(6, 3)
OURS, THEIRS = Rotation.from_quat(QUATERNIONS), reference.Rotation.from_quat(QUATERNIONS)
SEQUENCES = ["xyz", "zyx", "zxz", "XYZ", "ZYX", "YXY", "yzx", "ZXY"]


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-9)


def test_conversions():
    close(OURS.as_matrix(), THEIRS.as_matrix())
    close(OURS.as_rotvec(), THEIRS.as_rotvec())
    close(OURS.as_rotvec(degrees=True), THEIRS.as_rotvec(degrees=True))
    close(OURS.as_mrp(), THEIRS.as_mrp())
    close(OURS.as_quat(True, True), THEIRS.as_quat(canonical=True, scalar_first=True))
    close(OURS.magnitude(), THEIRS.magnitude())
    for maker, values in (("from_matrix", THEIRS.as_matrix()), ("from_rotvec", VECTORS), ("from_mrp", VECTORS)):
        close(getattr(Rotation, maker)(values).as_quat(True), getattr(reference.Rotation, maker)(values).as_quat(canonical=True))


def test_operations():
    close(OURS.apply(VECTORS), THEIRS.apply(VECTORS))
    close(OURS.apply(VECTORS[0], inverse=True), THEIRS.apply(VECTORS[0], inverse=True))
    close((OURS * OURS[::-1]).as_matrix(), (THEIRS * THEIRS[::-1]).as_matrix())
    close(OURS.inv().as_quat(True), THEIRS.inv().as_quat(canonical=True))
    close(OURS.mean().as_quat(True), THEIRS.mean().as_quat(canonical=True))
    close(OURS.mean(np.arange(1.0, 7)).as_matrix(), THEIRS.mean(np.arange(1, 7)).as_matrix())
    close(Rotation.concatenate([OURS, OURS]).as_matrix()[6:], THEIRS.as_matrix())


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.filterwarnings("ignore:Gimbal lock")
def test_euler_angles(sequence):
    close(Rotation.from_euler(sequence, VECTORS).as_matrix(), reference.Rotation.from_euler(sequence, VECTORS).as_matrix())
    close(OURS.as_euler(sequence), THEIRS.as_euler(sequence))
    locked = [0.3, np.pi / 2 if len(set(sequence)) == 3 else 0, 0.4]
    close(Rotation.from_euler(sequence, np.array(locked)).as_euler(sequence), reference.Rotation.from_euler(sequence, locked).as_euler(sequence))


def test_single_axes_identity_and_random():
    close(Rotation.from_euler("z", 90.0, degrees=True).as_matrix(), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    close(Rotation.from_euler("zx", VECTORS[:, :2]).as_matrix(), reference.Rotation.from_euler("zx", VECTORS[:, :2]).as_matrix())
    assert Rotation.identity().as_quat().tolist() == [0, 0, 0, 1] and len(Rotation.random(random.key(0), 3)) == 3
    for misuse in (lambda: Rotation.from_euler("xx", VECTORS[:, :2]), lambda: Rotation.from_euler("xY", VECTORS[:, :2]), lambda: OURS.as_euler("xy"), lambda: OURS.mean(np.ones(2))):
        with pytest.raises(ValueError):
            misuse()


def test_slerp():
    times, at = np.array([0.0, 1, 3, 4, 5, 7]), np.array([0, 0.5, 2.9, 3, 6.9, 7])
    ours, theirs = Slerp.init(times, OURS), reference.Slerp(times, THEIRS)
    close(tracejit.jit(lambda s, t: s(t).as_matrix())(ours, at), theirs(at).as_matrix())
    close(ours(1.5).as_matrix(), theirs(1.5).as_matrix())


def test_derivatives_at_no_rotation():
    slope = tracejit.jacfwd(lambda v: Rotation.from_rotvec(v).apply(np.array([1.0, 0, 0])))(jnp.zeros(3))
    np.testing.assert_allclose(np.asarray(slope), [[0, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-6)
    round_trip = tracejit.jacrev(lambda v: Rotation.from_rotvec(v).as_rotvec())(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(np.asarray(round_trip), np.eye(3), atol=1e-5)
