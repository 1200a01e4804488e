"""What holds for every test: the graph that any pass gives prints as text that parses back to an equal graph."""

from __future__ import annotations

import pytest

from npuq.ir import Graph, blobs, parse, to_text, verify
from npuq.passes import pipeline


def verify_and_read_back(graph: Graph) -> Graph:
    """Verify a graph, and its text."""
    verify(graph)
    assert parse(to_text(graph), blobs(graph)) == graph
    return graph


@pytest.fixture(autouse=True)
def every_graph_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pass pipeline check the text of each graph where it verifies it."""
    monkeypatch.setattr(pipeline, "verify", verify_and_read_back)
