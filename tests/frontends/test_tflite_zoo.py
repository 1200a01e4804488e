"""Real TFLite networks compute what LiteRT computes; integer ones bit for bit in every layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.frontends.tflite.read import read_model
from npuq.ir import evaluate
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import Lowered, lower
from npuq.passes.target import load_target
from tests import zoo

from .tflite_models import computed, reference

TINY = {"anomaly_detection": 10, "image_classification": 15, "keyword_spotting": 12, "visual_wake_words": 30}
"""The layers of integers that each network has, reshapes aside."""


def integer_inputs(lowered: Lowered, seed: int) -> np.ndarray:
    """Integers for the one input: noise, or every other time smooth waves, which reach deeper."""
    rng = np.random.default_rng(seed)
    (type_,) = lowered.graph.input_types
    if seed % 2:
        waves = np.cumsum(rng.normal(size=type_.shape) * 8, axis=1) + rng.normal() * 40
        return np.clip(waves, -128, 127).astype(np.int8)
    return rng.integers(-128, 128, type_.shape, np.int8)


def layers(path: Path, lowered: Lowered) -> dict[int, tuple[str, str]]:
    """The tensors of integers that operators give, with their values in the integer graph and their names."""
    model = read_model(path)
    found = {}
    for operator in model.operators:
        for number in operator.outputs:
            tensor = model.tensor(number)
            if tensor.is_quantized and tensor.name in lowered.values:
                found[number] = (lowered.values[tensor.name].name, tensor.name)
    return found


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "count"),
    [(name, 30) for name in [*TINY][:3]] + [pytest.param(name, 200, marks=pytest.mark.slow) for name in TINY],
)
def test_every_layer_is_litert_s_bit_for_bit(name: str, count: int) -> None:
    path = zoo.path("mlperf_tiny") / f"{name}.tflite"
    lowered = lower(canonicalize()(npuq.load(path)), load_target("npu-tflite"))
    assert not [node.place for node in lowered.graph.nodes if node.host or node.op.name == "transpose"]
    shared = layers(path, lowered)
    assert len(shared) >= TINY[name]
    run = evaluate(lowered.graph, [value for value, _ in shared.values()])
    interpreter = reference(path)
    (number,) = read_model(path).inputs
    (type_,) = lowered.graph.input_types
    assert type_.quant is not None
    stored = interpreter.get_tensor_details()[number]["dtype"]
    for seed in range(count):
        x = integer_inputs(lowered, seed)
        reals = (x.astype(np.float32) - type_.quant.zero_point) * np.float32(type_.quant.scale)
        wanted = computed(interpreter, {number: x if stored is np.int8 else reals}, tuple(shared))
        for (_, layer), ours, theirs in zip(shared.values(), map(np.asarray, run(x)), wanted, strict=True):
            np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs, err_msg=f"{layer}, input {seed}")


@pytest.mark.zoo
@pytest.mark.slow
def test_basic_pitch_is_its_onnx_twin() -> None:
    graph, twin = npuq.load(zoo.path("basic_pitch_tflite")), npuq.load(zoo.path("basic_pitch"))
    assert [*graph.outputs] == [*twin.outputs]
    for x in tones(graph.input_types[0].shape):
        for ours, theirs in zip(evaluate(graph)(x), map(np.asarray, evaluate(twin)(x)), strict=True):
            assert np.abs(np.asarray(ours) - theirs).max() <= 1e-4 * np.ptp(theirs)


@pytest.mark.zoo
@pytest.mark.slow
def test_basic_pitch_and_its_onnx_twin_have_the_same_scales() -> None:
    graphs = [npuq.load(zoo.path(name)) for name in ("basic_pitch_tflite", "basic_pitch")]
    data = np.concatenate(tones(graphs[0].input_types[0].shape))
    ours, theirs = (npuq.quantize(graph, data) for graph in graphs)
    wanted = np.array([*theirs.scales.values()])
    assert len(wanted) > 100
    assert all(np.abs(scale / wanted - 1).min() <= 1e-3 for scale in ours.scales.values())
    assert [one.shape for one in ours.simulate(data)] == [(2, 172, 88), (2, 172, 88), (2, 172, 264)]


def tones(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Two chords with a little noise, at 22 050 samples a second."""
    rng = np.random.default_rng(0)
    time = np.arange(shape[1]) / 22050
    found = []
    for _ in range(2):
        tones = (rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * pitch * time) for pitch in rng.uniform(80, 2000, 5))
        found.append((sum(tones) + rng.normal(size=shape[1]) * 0.01).astype(np.float32).reshape(shape))
    return found
