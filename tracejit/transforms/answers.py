"""What rules were told of sub-graphs."""
from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from tracejit.ir.graph import Graph


class Answers:
    """Answers to questions about graphs. Rules ask for the same sub-graph more than once: without the first answer, the
    time would double with each loop or branch around another."""

    def __init__(self) -> None:
        self.known: dict[tuple, tuple[Graph, Any]] = {}     # with the graph, so that no other gets its id

    def to(self, graph: Graph, question: tuple[Hashable, ...], answer: Callable[[], Any]) -> Any:
        """What answer() gave when the question was first asked."""
        key = id(graph), *question
        if key not in self.known:
            self.known[key] = graph, answer()
        return self.known[key][1]
