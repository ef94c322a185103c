"""Gathering, scattering, sorting and running sums."""
from __future__ import annotations

import numpy as np

from benchmarks.workload import M, Data, floats, generator, normal, program, swept


def rows(words: int, width: int, n: int):
    def data() -> Data:
        rng = generator()
        return {"table": rng.standard_normal((words, width)).astype(np.float32),
                "ids": rng.integers(0, words, n).astype(np.int32), "ct": rng.standard_normal((n, width)).astype(np.float32)}
    return data


TABLES = {f"{w}x{d}, {n}": rows(w, d, n) for w, d, n in ((7, 1, 1), (1001, 3, 4099), (333, 513, 777))}


@program("indexing", "embedding, 8192 of 100,000 rows of 64", rows(100_000, 64, 8192), moved=floats(8192 * 65, 8192 * 64),
         sweep=TABLES)
def embedding(J, table, ids, ct):
    return table[ids]


@program("indexing", "gradient of an embedding, 8192 of 100,000 rows of 64", rows(100_000, 64, 8192),
         moved=floats(8192 * 65, 100_000 * 64), sweep=TABLES)
def embedding_gradient(J, table, ids, ct):
    return J.grad(lambda table: J.numpy.sum(table[ids] * ct))(table)


def segments(n: int, count: int):
    return lambda: {"x": generator().standard_normal(n).astype(np.float32),
                    "ids": generator().integers(0, count, n).astype(np.int32)}


SEGMENTS = 10_000


@program("indexing", "sums of 10,000 segments, 1M", segments(M, SEGMENTS), moved=floats(2 * M, 0), tolerance=1e-3,
         sweep={str(n): segments(n, SEGMENTS) for n in (1, 1001, 65_537)})
def segment_sum(J, x, ids):
    return J.ops.segment_sum(x, ids, num_segments=SEGMENTS)


LENGTHS = {str(n): normal(x=(n,)) for n in (1, 7, 1001, 65_537, 3_000_017)}


@program("indexing", "sort, 1M", normal(x=(M,)), moved=floats(M, M), tolerance=0, sweep=LENGTHS | {
    "1000x17": normal(x=(1000, 17)), "float64, 65537": normal("float64", x=(65_537,))})
def sort(J, x):
    return J.numpy.sort(x)


@program("indexing", "argsort, 1M", lambda: {"x": generator().permutation(M).astype(np.float32)}, moved=floats(M, M), tolerance=0,
         sweep={str(n): lambda n=n: {"x": generator().permutation(n).astype(np.float32)} for n in (7, 1001, 65_537)})
def argsort(J, x):
    return J.numpy.argsort(x)


@program("indexing", "cumulative sum, 1M", normal(x=(M,)), moved=floats(M, M), tolerance=1e-3, sweep=LENGTHS)
def cumsum(J, x):
    return J.numpy.cumsum(x)


@swept({"1000x17": normal(x=(1000, 17)), "17x100003": normal(x=(17, 100_003))}, tolerance=1e-3)
def cumsum_columns(J, x):
    return J.numpy.cumsum(x, axis=0)


@program("indexing", "largest 10 of each row, 1000x1000", normal(x=(1000, 1000)), moved=floats(M, 0), tolerance=0,
         sweep={f"{m}x{n}": normal(x=(m, n)) for m, n in ((1, 11), (17, 1001), (3, 100_003))})
def top_k(J, x):
    return J.lax.top_k(x, 10)
