"""A small network and its data on disk, and the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from npuq.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def told(done: Outcome) -> str:
    """The one line of a refusal."""
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("npuq: ")
    assert done.err.count("\n") == 1, done.err
    return done.err.removeprefix("npuq: ").rstrip("\n")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line as a function of its arguments."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["npuq", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capfd.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def model() -> onnx.ModelProto:
    """Convolution, clamp, mean, product: an input of open batch, an output of four numbers."""
    generator = np.random.default_rng(11)
    tensors = {
        "w": generator.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "b": generator.normal(size=5).astype(np.float32),
        "m": generator.normal(size=(5, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="act"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@dataclass(frozen=True)
class Files:
    """A model and data that fit it."""

    model: Path
    data: Path


@pytest.fixture
def files(tmp_path: Path, model: onnx.ModelProto) -> Files:
    onnx.save(model, tmp_path / "small.onnx")
    np.save(tmp_path / "data.npy", np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32))
    return Files(tmp_path / "small.onnx", tmp_path / "data.npy")
