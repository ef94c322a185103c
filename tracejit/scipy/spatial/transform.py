"""Rotations in three dimensions as unit quaternions ``[..., 4]`` (scalar last), and interpolation between them."""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit import random as sampling
from tracejit.numpy.promotion import inexact


def length(v):
    """The norm along the last axis, of slope 0 at 0."""
    square = (v * v).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def normalized(quat):
    return quat / length(quat)[..., None]


def composed(p, q):
    """Hamilton's product."""
    u, v = p[..., :3], q[..., :3]
    a, b = p[..., 3:], q[..., 3:]
    return jnp.concatenate([a * v + b * u + jnp.cross(u, v), a * b - (u * v).sum(-1, keepdims=True)], -1)


def axes_of(seq: str, least: int) -> tuple[list[int], bool]:
    """Axis numbers of a sequence such as 'xyz' (extrinsic) or 'ZX' (intrinsic), and whether it is intrinsic."""
    if not re.fullmatch(f"[xyz]{{{least},3}}|[XYZ]{{{least},3}}", seq):
        raise ValueError(f"expected {least} to 3 axes, all of 'x', 'y', 'z' or all of 'X', 'Y', 'Z', got {seq!r}")
    if any(a == b for a, b in zip(seq, seq[1:])):
        raise ValueError(f"consecutive axes must differ, got {seq!r}")
    return ["xyz".index(letter) for letter in seq.lower()], seq.isupper()


class Rotation(NamedTuple):
    """One rotation or a stack of them; build one with the ``from_`` methods. A pytree of its quaternions.

    >>> import tracejit.numpy as jnp
    >>> print(Rotation.from_euler('z', 180.0, degrees=True).apply(jnp.array([1., 0., 0.])).round(3))
    [-1.  0.  0.]
    """

    quat: Any

    @classmethod
    def concatenate(cls, rotations: Sequence[Rotation]) -> Rotation:
        return cls(jnp.concatenate([jnp.atleast_2d(rotation.quat) for rotation in rotations]))

    @classmethod
    def from_euler(cls, seq: str, angles, degrees: bool = False) -> Rotation:
        """Rotations about the axes in ``seq``, one after the other: fixed axes for 'xyz', moving ones for 'XYZ'.

        ``angles`` has one entry per axis in its last axis (which a single axis may leave out).
        """
        axes, intrinsic = axes_of(seq, 1)
        angles = jnp.asarray(inexact("Rotation.from_euler", angles))
        angles = angles[..., None] if len(axes) == 1 and (angles.ndim == 0 or angles.shape[-1] != 1) else angles
        half = (jnp.deg2rad(angles) if degrees else angles) / 2
        out = None
        for i, axis in enumerate(axes):
            unit = jnp.zeros((*half.shape[:-1], 4), half.dtype).at[..., axis].set(jnp.sin(half[..., i]))
            turn = unit.at[..., 3].set(jnp.cos(half[..., i]))
            out = turn if out is None else composed(out, turn) if intrinsic else composed(turn, out)
        return cls(out)

    @classmethod
    def from_matrix(cls, matrix) -> Rotation:
        """From rotation matrices ``[..., 3, 3]`` (Shepperd, 1978)."""
        matrix = jnp.asarray(inexact("Rotation.from_matrix", matrix))
        trace = jnp.trace(matrix, axis1=-2, axis2=-1)
        m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
        candidates = []
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            parts = [None] * 4
            parts[i], parts[j] = 1 - trace + 2 * m[i][i], m[j][i] + m[i][j]
            parts[k], parts[3] = m[k][i] + m[i][k], m[k][j] - m[j][k]
            candidates.append(jnp.stack(parts, -1))
        candidates.append(jnp.stack([m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1 + trace], -1))
        # Each candidate is the quaternion times four times one of its entries: take the one with the largest.
        largest = jnp.argmax(jnp.stack([m[0][0], m[1][1], m[2][2], trace], -1), -1)
        chosen = jnp.take_along_axis(jnp.stack(candidates, -2), largest[..., None, None], -2)[..., 0, :]
        return cls(normalized(chosen))

    @classmethod
    def from_mrp(cls, mrp) -> Rotation:
        """From modified Rodrigues parameters ``[..., 3]``: the axis times the tangent of a quarter of the angle."""
        mrp = jnp.asarray(inexact("Rotation.from_mrp", mrp))
        scale = 1 + (mrp * mrp).sum(-1, keepdims=True)
        return cls(jnp.concatenate([2 * mrp, 2 - scale], -1) / scale)

    @classmethod
    def from_quat(cls, quat) -> Rotation:
        """From quaternions ``[..., 4]``, scalar last, of any length but 0."""
        return cls(normalized(jnp.asarray(inexact("Rotation.from_quat", quat))))

    @classmethod
    def from_rotvec(cls, rotvec, degrees: bool = False) -> Rotation:
        """From rotation vectors ``[..., 3]``: the axis times the angle."""
        rotvec = jnp.asarray(inexact("Rotation.from_rotvec", rotvec))
        rotvec = jnp.deg2rad(rotvec) if degrees else rotvec
        angle = length(rotvec)[..., None]
        # sin(angle / 2) / angle, also at 0.
        return cls(jnp.concatenate([jnp.sinc(angle / (2 * math.pi)) / 2 * rotvec, jnp.cos(angle / 2)], -1))

    @classmethod
    def identity(cls, num: int | None = None, dtype=float) -> Rotation:
        one = jnp.array([0, 0, 0, 1], jnp.result_type(dtype))
        return cls(one if num is None else jnp.tile(one, (num, 1)))

    @classmethod
    def random(cls, random_key, num: int | None = None) -> Rotation:
        """Rotations uniform over all rotations."""
        return cls.from_quat(sampling.normal(random_key, (4,) if num is None else (num, 4)))

    @property
    def single(self) -> bool:
        return self.quat.ndim == 1

    def __getitem__(self, indexer) -> Rotation:
        if self.single:
            raise TypeError("a single rotation has no entries")
        return Rotation(self.quat[indexer])

    def __len__(self) -> int:
        if self.single:
            raise TypeError("a single rotation has no length")
        return self.quat.shape[0]

    def __mul__(self, other: Rotation) -> Rotation:
        """``(p * q).apply(v)`` is ``p.apply(q.apply(v))``."""
        return Rotation(normalized(composed(self.quat, other.quat)))

    def apply(self, vectors, inverse: bool = False):
        """The rotated vectors ``[..., 3]``; rotations and vectors broadcast."""
        matrix = self.as_matrix()
        matrix = jnp.swapaxes(matrix, -1, -2) if inverse else matrix
        return (matrix * jnp.asarray(vectors)[..., None, :]).sum(-1)

    def as_euler(self, seq: str, degrees: bool = False):
        """Angles ``[..., 3]`` about the three axes in ``seq``, in (-pi, pi] (Bernardes and Viollet, 2022).

        Where the middle angle leaves the others undetermined (gimbal lock), the last one is 0.
        """
        axes, intrinsic = axes_of(seq, 3)
        # About moving axes is about fixed ones in the opposite order.
        first, second, third = euler_angles(self.quat, axes[::-1] if intrinsic else axes, last_is_zero=not intrinsic)
        angles = jnp.stack([third, second, first] if intrinsic else [first, second, third], -1)
        angles = (angles + math.pi) % (2 * math.pi) - math.pi
        return jnp.rad2deg(angles) if degrees else angles

    def as_matrix(self):
        """Rotation matrices ``[..., 3, 3]``."""
        x, y, z, w = (self.quat[..., i] for i in range(4))
        rows = [[x * x - y * y - z * z + w * w, 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), y * y - x * x - z * z + w * w, 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), z * z - x * x - y * y + w * w]]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2)

    def as_mrp(self):
        """Modified Rodrigues parameters ``[..., 3]``."""
        quat = jnp.where(self.quat[..., 3:] < 0, -self.quat, self.quat)
        return quat[..., :3] / (1 + quat[..., 3:])

    def as_rotvec(self, degrees: bool = False):
        """Rotation vectors ``[..., 3]`` of length pi at most."""
        quat = jnp.where(self.quat[..., 3:] < 0, -self.quat, self.quat)
        half = jnp.arctan2(length(quat[..., :3]), quat[..., 3])[..., None]
        out = 2 / jnp.sinc(half / math.pi) * quat[..., :3]
        return jnp.rad2deg(out) if degrees else out

    def as_quat(self, canonical: bool = False, scalar_first: bool = False):
        """Unit quaternions ``[..., 4]``; ``canonical`` takes that of the two whose scalar (or first nonzero) part is
        positive."""
        quat = self.quat
        if canonical:
            x, y, z, w = (quat[..., i] for i in range(4))
            deciding = jnp.where(w != 0, w, jnp.where(x != 0, x, jnp.where(y != 0, y, z)))
            quat = jnp.where(deciding[..., None] < 0, -quat, quat)
        return jnp.roll(quat, 1, -1) if scalar_first else quat

    def inv(self) -> Rotation:
        return Rotation(self.quat * jnp.array([-1, -1, -1, 1], self.quat.dtype))

    def magnitude(self):
        """Angles in [0, pi]."""
        return 2 * jnp.arctan2(length(self.quat[..., :3]), jnp.abs(self.quat[..., 3]))

    def mean(self, weights=None) -> Rotation:
        """The rotation with the least weighted sum of squared distances (of matrices) to these."""
        weights = jnp.ones(len(self), self.quat.dtype) if weights is None else jnp.asarray(weights, self.quat.dtype)
        if weights.shape != (len(self),):
            raise ValueError(f"Rotation.mean: weights must have shape ({len(self)},), got {weights.shape}")
        _, vectors = jnp.linalg.eigh((self.quat * weights[:, None]).T @ self.quat)
        return Rotation(vectors[:, -1])


def euler_angles(quat, axes: list[int], last_is_zero: bool):
    """Angles about fixed axes, first to last; in gimbal lock the last or the first is 0."""
    i, j, k = axes
    proper = i == k
    k = 3 - i - j if proper else k
    sign = (i - j) * (j - k) * (k - i) / 2
    x, y, z, w = quat[..., i], quat[..., j], quat[..., k] * sign, quat[..., 3]
    a, b, c, d = (w, x, y, z) if proper else (w - y, x + z, y + w, z - x)
    middle = 2 * jnp.arctan2(jnp.hypot(c, d), jnp.hypot(a, b))
    half_sum, half_difference = jnp.arctan2(b, a), jnp.arctan2(d, c)
    at_zero, at_pi = jnp.abs(middle) <= 1e-7, jnp.abs(middle - math.pi) <= 1e-7
    locked = jnp.where(at_zero, 2 * half_sum, (-2 if last_is_zero else 2) * half_difference)
    first, last = (jnp.where(at_zero | at_pi, locked if free else 0, angle) for free, angle in
            ((last_is_zero, half_sum - half_difference), (not last_is_zero, half_sum + half_difference)))
    return (first, middle, last) if proper else (first, middle - math.pi / 2, last * sign)


class Slerp(NamedTuple):
    """Interpolation between rotations at constant angular velocity; build one with `Slerp.init`, call it with times.

    >>> import tracejit.numpy as jnp
    >>> turns = Rotation.from_euler('z', jnp.array([0., 90.]), degrees=True)
    >>> print(Slerp.init(jnp.array([0., 1.]), turns)(0.5).as_euler('zyx', degrees=True).round(2))
    [45.  0.  0.]
    """

    times: Any
    timedelta: Any
    rotations: Rotation
    rotvecs: Any

    @classmethod
    def init(cls, times, rotations: Rotation) -> Slerp:
        """From ascending times and as many rotations, at least 2."""
        if not isinstance(rotations, Rotation):
            raise TypeError(f"Slerp takes a Rotation, got {type(rotations).__name__}")
        if rotations.single or len(rotations) < 2:
            raise ValueError("Slerp takes at least 2 rotations")
        times = jnp.asarray(times, rotations.quat.dtype)
        if times.shape != (len(rotations),):
            raise ValueError(f"Slerp takes one time per rotation: got shape {times.shape} for {len(rotations)}")
        start = rotations[:-1]
        return cls(times, jnp.diff(times), start, (start.inv() * rotations[1:]).as_rotvec())

    def __call__(self, times) -> Rotation:
        times = jnp.asarray(times, self.times.dtype)
        if times.ndim > 1:
            raise ValueError(f"Slerp takes a time or a vector of times, got shape {times.shape}")
        index = jnp.clip(jnp.searchsorted(self.times, times) - 1, 0, self.timedelta.shape[0] - 1)
        fraction = (times - self.times[index]) / self.timedelta[index]
        turn = Rotation.from_rotvec(self.rotvecs[index] * fraction[..., None])
        return Rotation(self.rotations.quat[index]) * turn
