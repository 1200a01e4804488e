"""Passes as values: they print, check themselves, say where they fail, and dump what they made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from npuq.ir import Graph, NpuqError, PassError, parse
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.drop_identity import drop_identity
from npuq.passes.canonical.normalize_input import normalize_input
from npuq.passes.pipeline import CATALOGUE, Pass, chain, dump_to, graph_pass

from .rewriting import graph

NET = """
graph @g(%x: f32[1,5]) {
  const %w: f32[5,4] = #WEIGHTS
  %a = identity %x : f32[1,5]  loc("net.onnx:a")
  %y = matmul %a, %w : f32[1,4]
  return %y
}
"""
WEIGHTS = np.arange(20, dtype=np.float32).reshape(5, 4)


def net() -> Graph:
    return parse(NET.replace("WEIGHTS", "w"), {"w": WEIGHTS})


def never(graph: Graph) -> None:
    """Hold of no graph."""
    raise NpuqError(f"{graph.name}: never")


def keep(graph: Graph) -> Graph:
    return graph


def spoil(graph: Graph) -> Graph:
    """Leave out a node that others need."""
    return Graph(graph.name, graph.inputs, graph.constants, graph.nodes[1:], graph.outputs)


def test_a_pipeline_prints_its_passes_and_their_options() -> None:
    assert str(chain(drop_identity(), normalize_input(std=(2.0,)))) == "drop-identity | normalize-input{std=(2.0,)}"
    assert str(normalize_input(mean=np.ones(3))) == "normalize-input{mean=<ndarray>}"  # type: ignore[arg-type]
    assert str(chain(chain(drop_identity()), drop_identity())) == "drop-identity | drop-identity"


def test_the_standard_chain_is_made_of_catalogued_passes() -> None:
    assert set(str(canonicalize()).split(" | ")) <= set(CATALOGUE)


def test_the_catalogue_makes_passes_by_name() -> None:
    assert CATALOGUE["drop-identity"]() == drop_identity()
    assert all(factory.__doc__ for factory in CATALOGUE.values())
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in CATALOGUE)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(PassError, match=r"^normalize-input has no option variance; it has mean, std$"):
        CATALOGUE["normalize-input"](variance=1.0)
    with pytest.raises(PassError, match=r"^drop-identity has no option fast; it has none$"):
        CATALOGUE["drop-identity"](fast=True)


def test_a_failing_pass_is_named_with_its_place_in_the_chain() -> None:
    pipeline = chain(drop_identity(), Pass("refuse", keep, requires=(never,)), drop_identity())
    with pytest.raises(NpuqError) as caught:
        pipeline(net())
    assert str(caught.value) == "g: never"
    assert caught.value.__notes__ == ["in pass 1, refuse, of: drop-identity | refuse | drop-identity"]


def test_a_broken_promise_is_the_fault_of_the_pass() -> None:
    with pytest.raises(PassError, match=r"^promise broke its promise: g: never$"):
        Pass("promise", keep, ensures=(never,))(net())


def test_an_invalid_result_does_not_leave_the_pass() -> None:
    with pytest.raises(NpuqError, match=r"^%y: matmul: %a is used before it is defined$"):
        Pass("spoil", spoil)(net())


def test_each_step_is_dumped_and_parses_back(tmp_path: Path) -> None:
    pipeline = chain(drop_identity(), normalize_input(std=(2.0,)))
    steps: list[Graph] = []
    pipeline(net(), after_pass=lambda index, pass_, graph: steps.append(graph))
    pipeline(net(), after_pass=dump_to(tmp_path))
    pipeline(net(), after_pass=dump_to(tmp_path))
    texts = sorted(tmp_path.glob("*.ir"))
    assert [path.name for path in texts] == ["00-drop-identity.ir", "01-normalize-input.ir"]
    arrays = {path.stem: np.load(path) for path in (tmp_path / "blobs").iterdir()}
    assert [parse(path.read_text(encoding="utf-8"), arrays) for path in texts] == steps
    assert len(arrays) == 1


def test_a_pass_keeps_its_docstring_and_is_a_value() -> None:
    assert (drop_identity.__doc__ or "").startswith("Let the users of every op that changes nothing use its operand.")
    assert normalize_input(std=(2.0,)) == normalize_input(std=(2.0,)) != normalize_input()
    assert hash(drop_identity()) == hash(drop_identity())


def test_passes_leave_the_graph_that_they_are_given() -> None:
    text = """
    graph @g(%x: f32[2]) {
      %a = identity %x : f32[2]
      %y = relu %a : f32[2]
      return %y
    }
    """
    before = graph(text)
    canonicalize()(before)
    assert before == graph(text)


def test_an_option_at_its_default_makes_the_same_pass() -> None:
    @graph_pass("test-only")
    def first(graph: Graph, *, times: int = 1) -> Graph:
        return graph

    try:
        assert first(times=2) != first()
        assert first(times=1) == first()
    finally:
        del CATALOGUE["test-only"]
