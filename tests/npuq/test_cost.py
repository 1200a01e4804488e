"""What a network costs: the same from every form of it, estimated without scales, counted without running anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import npuq
from npuq import Quantized


@pytest.fixture(scope="module")
def quantized(model: onnx.ModelProto) -> Quantized:
    data = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)
    return npuq.quantize(npuq.load(model), data, method="min_max", effort=0)


def test_every_form_of_a_network_costs_the_same(quantized: Quantized, tmp_path: Path) -> None:
    quantized.program.save(tmp_path / "net.npuq")
    known = quantized.program.cost()
    assert known.cycles > 0
    assert npuq.cost_of(quantized.program) == npuq.cost_of(quantized.program, "npu") == known
    assert npuq.cost_of(tmp_path / "net.npuq") == npuq.cost_of(str(tmp_path / "net.npuq")) == known
    assert npuq.cost_of(quantized.graph) == npuq.cost_of(quantized.qdq) == known


@pytest.mark.parametrize(("target", "bits"), [("npu", None), ("npu", 16), ("npu-asym", 8), ("npu-tflite", None)])
def test_a_float_graph_is_estimated(model: onnx.ModelProto, target: str, bits: int | None) -> None:
    graph = npuq.load(model)
    data = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)
    known = npuq.quantize(graph, data, target=target, bits=bits, effort=0).program.cost()
    found = npuq.cost_of(graph, target, bits=bits)
    assert [(row.name, row.op, row.macs) for row in found.rows] == [(row.name, row.op, row.macs) for row in known.rows]
    assert (found.cycles, found.arena_bytes) == (known.cycles, known.arena_bytes)


def test_nothing_is_run_or_written(quantized: Quantized, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("npuq.backends.npu.program.simulator", work)
    monkeypatch.setattr("npuq.backends.npu.program.to_bytes", work)
    with pytest.raises(AssertionError):
        _ = npuq.Program.make(quantized.graph, quantized.target, quantized.samples).bytes
    for network in (quantized.float_graph, quantized.qdq, quantized.graph):
        assert npuq.cost_of(network).cycles > 0


def test_what_does_not_fit_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    with pytest.raises(npuq.NpuqError, match=r"^small: a program of npu; leave the target out$"):
        npuq.cost_of(quantized.program, "npu-asym")
    for network in (quantized.program, quantized.graph, quantized.qdq):
        with pytest.raises(npuq.NpuqError, match=r"^small: bits 16: the network is quantized; leave bits out$"):
            npuq.cost_of(network, bits=16)
    for bits in (0, 12):
        with pytest.raises(npuq.NpuqError, match=f"npu has no activations of {bits} bits; it has 8 and 16"):
            npuq.cost_of(quantized.float_graph, bits=bits)
    with pytest.raises(
        npuq.NpuqError, match=r"^cost_of: Quantized, a graph, a program \(\.program\) or its file wanted"
    ):
        npuq.cost_of(quantized)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(npuq.NpuqError, match="No such file"):
        npuq.cost_of(tmp_path / "gone.npuq")
