"""The tools say what the compiler did: where, doctor, the debug log, and checks that name a guilty pass."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.config import config
from tracejit.errors import CompileError
from tracejit.ir.graph import Graph
from tracejit.lax.elementary import Exp
from tracejit.runtime import compile as compiler
from tracejit.tools import doctor, where
from tracejit.transforms.passes.pipeline import IMPROVING

X = np.linspace(0, 1, 1200, dtype=np.float32).reshape(12, 100)


def test_where():
    assert where.rule_of(Exp, "eval")[0] == "own" and where.rule_of(Exp, "eval")[1].startswith("tracejit/lax/elementary.py:")
    assert where.rule_of(Exp, "batch")[0] == "derived" and where.rule_of(Exp, "transpose")[0] == "missing"
    assert "e to the power" in where.table_of(Exp)
    assert len(list(where.summary())) == len(where.all_ops()) > 100
    assert any("functions: median" in line for line in where.size_lines())


def test_doctor(capsys):
    assert doctor.main() == 0
    assert "ok" in capsys.readouterr().out


@pytest.mark.parametrize("level, words", [(1, "equations ->"), (2, "GB/s"), (3, "--- before"), (4, "mul"), (5, "define"), (6, "ret")])
def test_debug_levels(level: int, words: str, capfd):
    with config.setting(debug=level):
        tj.jit(lambda x: jnp.exp(x * level) * 1)(X)
    assert words in capfd.readouterr().err


def test_checks_name_the_guilty_pass(monkeypatch):
    def wrong(graph: Graph) -> Graph:
        return Graph(graph.params, graph.eqns, [graph.params[0]])

    def broken(graph: Graph) -> Graph:
        return Graph(graph.params, graph.eqns[1:], graph.results)
    for guilty, change, words in (("swap results", wrong, "changed result 0"), ("lose a line", broken, "not well formed")):
        passes = (*IMPROVING, (guilty, change))
        monkeypatch.setattr(compiler, "improving", lambda words, passes=passes: passes)
        with config.setting(check=True), pytest.raises(CompileError, match=f"`{guilty}`.*{words}"):
            tj.jit(lambda x: jnp.exp(x) + jnp.sin(x))(X)
        monkeypatch.undo()


def test_reports_do_not_keep_programs():
    for k in range(3):
        tj.jit(lambda x: x + k)(X)
    assert all(report.code is None and report.source is None for report in compiler.reports[:-1])
