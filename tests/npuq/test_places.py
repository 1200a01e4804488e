"""Elements at computed or chosen places, from the ONNX operator to the program and its exports."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import npuq
from npuq.ir import Graph, NpuqError
from tests.test_random_networks import assert_levels_agree

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
RANDOM = np.random.default_rng(0)


def samples(*shape: int) -> list[tuple[np.ndarray, ...]]:
    return [(RANDOM.normal(size=shape).astype(np.float32),) for _ in range(3)]


@pytest.mark.parametrize(
    ("body", "bits"),
    [
        ("y, at = TopK <axis = 2> (x, k)", 8),
        ("a = Relu (x) v, at = TopK <axis = 1, largest = 0> (a, k) y = Sigmoid (v)", 16),
        ("v, at = TopK (x, k) y = GatherElements <axis = 3> (x, at)", 8),
    ],
)
def test_the_greatest_elements_are_found_on_the_host(body: str, bits: int) -> None:
    text = (
        f"{HEAD} g (float[1, 4, 5, 6] x) => (float[a, b, c, d] y, int64[a, b, c, d] at) <int64[1] k = {{3}}> {{{body}}}"
    )
    quantized = assert_levels_agree(npuq.load(parser.parse_model(text)), samples(1, 4, 5, 6), "npu", bits=bits)
    assert {node.op.name for node in quantized.graph.nodes if node.host} >= {"top_k"}


def net(body: str, given: str = "", known: str = "") -> Graph:
    """A network of x, whose places are known or given, with an integer op before them and one behind."""
    text = f"""{HEAD} g (float[1, 4, 6] x{given}) => (float[a, b, c] y) <{known}> {{
      a = Relu (x) b = Sigmoid (x) {body} y = Mul (v, half)
    }}"""
    return npuq.load(parser.parse_model(text))


HALF = "float half = {0.5}"
NESTED = "0, 0, 1, 0, 3, 5, 0, 0, 1"
MOVES = {
    "gather_elements": ("v = GatherElements <axis = 1> (a, i)", "int64[1, 2, 6] i = {0,-1,2,3,3,1, 1,1,0,0,-4,2}"),
    "gather_nd": ("v = GatherND (a, i)", "int64[1, 3, 2] i = {0,3, 0,-1, 0,0}"),
    "gather_nd in batches": ("v = GatherND <batch_dims = 1> (a, i)", "int64[1, 3, 1] i = {1, -1, 1}"),
    "scatter_nd": ("v = ScatterND (a, i, b)", "int64[1, 4, 2] i = {0,3, 0,-4, 0,1, 0,2}"),
    "scatter_nd of elements": (
        "u = ReduceMax <axes = [0, 1], keepdims = 0> (b) v = ScatterND (a, i, u)",
        f"int64[6, 3] i = {{{NESTED}, 0,2,2, 0,3,3, 0,1,1}}",
    ),
    "scatter_elements": (
        "v = ScatterElements <axis = 2> (a, i, b)",
        "int64[1, 4, 6] i = {" + ", ".join("051423" * 4) + "}",
    ),
}
"""Operators with known places: the last two write places that they name twice, of which the last counts."""


@pytest.mark.parametrize(("target", "bits"), [("npu", 8), ("npu-asym", 16)])
@pytest.mark.parametrize("case", MOVES)
def test_elements_at_known_places_move_on_the_npu(case: str, target: str, bits: int) -> None:
    body, places = MOVES[case]
    quantized = assert_levels_agree(net(body, known=f"{places}, {HALF}"), samples(1, 4, 6), target, bits=bits)
    assert [node.op.name for node in quantized.graph.nodes if node.host] == []
    (moved,) = (node for node in quantized.graph.nodes if node.op.name == case.split()[0])
    assert moved.type.quant == quantized.graph.types[moved.operands[0]].quant


@pytest.mark.parametrize("bits", [8, 16])
def test_a_row_of_a_state_is_written_where_an_input_says(bits: int) -> None:
    """What the last step of a decoder does; rows that are named twice keep the last write at every level."""
    body = "u = Slice (b, s, e, t) v = ScatterND (a, at, u)"
    known = f"int64[1] s = {{0}}, int64[1] e = {{2}}, int64[1] t = {{1}}, {HALF}"
    graph = net(body, ", int64[1, 2, 2] at", known)
    places = ([[0, 1], [0, 3]], [[0, -1], [0, 0]], [[0, 2], [0, 2]])
    data = [(*x, np.array([at])) for x, at in zip(samples(1, 4, 6), places, strict=True)]
    quantized = assert_levels_agree(graph, data, "npu", bits=bits)
    assert not [node.host for node in quantized.graph.nodes if node.host]
    assert str(quantized.graph.inputs["at"]) == "i64[1,2,2]"


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ("v = GatherElements <axis = 1> (a, at)", "1, 2, 6"),
        ("v = GatherND (a, at)", "1, 3, 2"),
        ("v = ScatterElements <axis = 1> (a, at, b)", "1, 4, 6"),
    ],
)
def test_places_outside_are_refused_as_data(body: str, places: str) -> None:
    graph = net(body, f", int64[{places}] at", HALF)
    (x,), at = samples(1, 4, 6)[0], np.zeros([int(size) for size in places.split(",")], np.int64)
    quantized = npuq.quantize(graph, {"x": x, "at": at}, method="min_max")
    told = r"^input 'at'.*: index 9 for 4 rows, -4 to 3 wanted(\n|$)"
    with pytest.raises(NpuqError, match=told):
        quantized.simulate(x, at + 9)
    with pytest.raises(NpuqError, match=told):
        npuq.quantize(graph, {"x": x, "at": at + 9})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'v = ScatterND <reduction = "add"> (a, i, b)',
            "there is no integer form of scatter_nd with the reduction add",
        ),
        (
            "q = Cast <to = 7> (b) v = GatherElements <axis = 2> (a, q)",
            "indices %q are computed, known ones or an input of the network wanted",
        ),
    ],
)
def test_what_is_joined_or_computed_stays_on_the_host(body: str, reason: str) -> None:
    known = "int64[1, 4, 2] i = {0,3, 0,0, 0,1, 0,2}, " + HALF
    graph = npuq.quantize(net(body, known=known), [x for (x,) in samples(1, 4, 6)]).graph
    assert reason in [node.host for node in graph.nodes]


@pytest.mark.parametrize("case", MOVES)
def test_known_places_that_are_outside_are_refused(case: str) -> None:
    body, places = MOVES[case]
    declared, equals, numbers = places.rpartition("=")
    with pytest.raises(NpuqError, match=r"indices from .* to .* on an axis of [46]"):
        net(body, known=f"{declared}{equals}{numbers.replace('1', '9')}, {HALF}")


def test_an_image_that_is_sampled_passes_through_the_host() -> None:
    text = f"""{HEAD} g (float[1, 2, 5, 6] x, float[1, 3, 4, 2] grid) => (float[a, b, c, d] y) <{HALF}> {{
      a = Relu (x) v = GridSample <padding_mode = "border"> (a, grid) y = Mul (v, half)
    }}"""
    data = [(x, np.tanh(grid)) for (x,), (grid,) in zip(samples(1, 2, 5, 6), samples(1, 3, 4, 2), strict=True)]
    quantized = assert_levels_agree(npuq.load(parser.parse_model(text)), data, "npu")
    assert "there is no integer form of grid_sample" in [node.host for node in quantized.graph.nodes]
