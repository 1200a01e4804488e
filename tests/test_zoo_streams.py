"""A voice detector that keeps its state from call to call: integers throughout, through the saved file as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.ir import Graph, evaluate
from tests import zoo
from tests.backends.test_execution import assert_equals_interpreter

pytestmark = [pytest.mark.zoo, pytest.mark.slow]

RATE, FRAME, CONTEXT = 16000, 512, 64
Call = tuple[np.ndarray, np.ndarray, np.ndarray]


def detector() -> Graph:
    try:
        model = zoo.path("silero_vad")
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    return npuq.load(model, shapes={"input": (1, FRAME + CONTEXT), "state": (2, 1, 128), "sr": ()})


def calls(graph: Graph, streams: int, frames: int = 10) -> list[Call]:
    """Bursts of harmonics in noise, frame by frame, each with the state that the float network had."""
    random, run = np.random.default_rng(0), evaluate(graph)
    found: list[Call] = []
    for _ in range(streams):
        time = np.arange(FRAME * frames) / RATE
        pitch, loudness = random.uniform(80, 250), 10 ** random.uniform(-2, -0.3)
        voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 18))
        bursts = np.clip(np.sin(2 * np.pi * random.uniform(1, 4) * time + random.uniform(0, 6)), 0, 1)
        signal = ((voice * bursts * 0.3 + random.normal(0, 0.02, time.size)) * loudness).astype(np.float32)
        state = np.zeros((2, 1, 128), np.float32)
        padded = np.concatenate([np.zeros(CONTEXT, np.float32), signal])
        for start in range(0, FRAME * frames, FRAME):
            found.append((padded[None, start : start + FRAME + CONTEXT], state, np.asarray(RATE, np.int64)))
            state = np.asarray(run(*found[-1])[1])
    return found


@pytest.mark.parametrize(("bits", "least"), [(8, 5.0), (16, 50.0)])
def test_a_detector_with_state_runs_as_integers(bits: int, least: float, tmp_path: Path) -> None:
    graph = detector()
    samples = calls(graph, 4)
    quantized = npuq.quantize(graph, samples, bits=bits)
    assert not [node.place for node in quantized.graph.nodes if node.host]
    types = quantized.graph.types
    assert types["state"].quant == quantized.graph.output_types[1].quant
    quantized.program.save(tmp_path / "net.npuq")
    program = npuq.Program.load(tmp_path / "net.npuq")
    random = np.random.default_rng(1)
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)
    integers = [
        tuple(
            random.integers(low, high, type_.shape).astype(type_.dtype.numpy)
            if type_.quant is not None
            else np.asarray(RATE, np.int64)
            for type_ in program.graph.input_types
        )
        for _ in range(2)
    ]
    assert_equals_interpreter(program, integers)
    run, errors, powers = evaluate(graph), np.zeros(2), np.zeros(2)
    for sample in samples[::3]:
        for place, (exact, got) in enumerate(zip(run(*sample), program.run(*sample), strict=True)):
            wanted = np.asarray(exact, np.float64)
            errors[place] += float(((wanted - np.asarray(got, np.float64)) ** 2).sum())
            powers[place] += float((wanted**2).sum())
    assert (10 * np.log10(powers / errors)).min() > least
