"""Integer TFLite operators: programs of `npu-tflite` and their exact ONNX models give LiteRT's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from npuq.backends.exact_onnx import to_exact_onnx
from npuq.backends.npu import Program
from npuq.frontends import load
from npuq.ir import DType, Graph, evaluate
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.pipeline import chain
from npuq.passes.target import load_target

from .tflite_models import Net, computed, reference

SHAPE = (2, 7, 6, 8)
SAME, VALID = 0, 1


class Quantized(Net):
    """A file of int8 tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(9)
        self.outputs: list[int] = []

    def value(self, name: str, scale: float = 0.05, zero: int = 3, shape: tuple[int, ...] = ()) -> int:
        return self.tensor(name, shape, "int8", scales=(scale,), zero=zero)

    def weights(self, name: str, shape: tuple[int, ...], axis: int | None) -> tuple[int, tuple[float, ...]]:
        """Weights with a scale per slice of an axis, or one."""
        scales = tuple(self.rng.uniform(0.002, 0.02, 1 if axis is None else shape[axis]).astype(np.float32).tolist())
        array = self.rng.integers(-127, 128, shape).astype(np.int8)
        return self.tensor(name, array=array, scales=scales, axis=axis or 0), scales

    def bias(self, name: str, scales: tuple[float, ...], count: int, x: float) -> int:
        array = self.rng.integers(-3000, 3000, count).astype(np.int32)
        return self.tensor(name, array=array, scales=tuple(one * x for one in scales))

    def op(self, operator: str, *inputs: int, scale: float = 0.05, zero: int = 3, **options: Any) -> int:
        """Add an operator whose result is an output."""
        self.outputs.append(self.value(f"{operator}{len(self.outputs)}", scale, zero))
        self.add(operator, inputs, (self.outputs[-1],), **options)
        return self.outputs[-1]


def windows(n: Quantized, x: int, y: int) -> None:
    w, scales = n.weights("w", (5, 3, 3, 8), 0)
    bias = n.bias("b", scales, 5, 0.05)
    n.op("CONV_2D", x, w, bias, scale=0.4, zero=-128, padding=SAME, strideH=2, strideW=1, fusedActivationFunction=1)
    w, scales = n.weights("d", (1, 3, 3, 8), 3)
    deep = n.bias("e", scales, 8, 0.05)
    strides: dict[str, Any] = {"strideH": 1, "strideW": 1}
    n.op("DEPTHWISE_CONV_2D", x, w, deep, scale=0.3, zero=7, depthMultiplier=1, padding=VALID, **strides)
    w, _ = n.weights("t", (5, 3, 3, 8), 0)
    twice: dict[str, Any] = {"strideH": 2, "strideW": 2}
    n.op("TRANSPOSE_CONV", n.known(2, 14, 12, 5), w, x, scale=0.5, zero=0, padding=SAME, **twice)
    for height, width in ((2, 2), (2, 3), (3, 3), (7, 6)):
        n.op("AVERAGE_POOL_2D", x, padding=SAME, filterHeight=height, filterWidth=width, **strides)
    n.op("MAX_POOL_2D", x, padding=SAME, filterHeight=3, filterWidth=2, fusedActivationFunction=1, **twice)
    n.op("MAX_POOL_2D", y, scale=0.17, zero=-44, padding=VALID, filterHeight=2, filterWidth=2, **twice)


def sums(n: Quantized, x: int, y: int) -> None:
    n.op("ADD", x, y, scale=0.11, zero=-20, fusedActivationFunction=1)
    n.op("ADD", x, x, scale=0.1)
    n.op("SUB", x, y, scale=0.11, zero=40)
    n.op("MUL", x, y, scale=0.09, zero=-3)
    n.op("MEAN", x, n.known(1, 2), scale=0.013, zero=-9, keepDims=False)
    n.op("MEAN", x, n.known(1, 2), scale=0.05, zero=3, keepDims=True)
    n.op("QUANTIZE", x, scale=0.031, zero=-30)
    matrix, scales = n.weights("m", (9, 336), None)
    bias = n.bias("c", scales, 9, 0.05)
    flat = n.op("FULLY_CONNECTED", x, matrix, bias, scale=0.35, zero=11)
    matrix, scales = n.weights("k", (6, 9), 0)
    rows = n.op("FULLY_CONNECTED", flat, matrix, n.bias("l", scales, 6, 0.35), scale=0.21, zero=1)
    n.op("SOFTMAX", rows, scale=1 / 256, zero=-128, beta=1.0)
    n.op("SOFTMAX", x, scale=1 / 256, zero=-128, beta=1.0)


def rest(n: Quantized, x: int, y: int) -> None:
    n.op("LOGISTIC", x, scale=1 / 256, zero=-128)
    n.op("TANH", x, scale=1 / 128, zero=0)
    n.op("RELU", x, scale=0.05, zero=3)
    n.op("LOGISTIC", y, scale=1 / 256, zero=-128)
    n.op("CONCATENATION", x, x, axis=3)
    n.op("PAD", x, n.known(0, 0, 1, 2, 0, 1, 0, 0, shape=(4, 2)))
    n.op("RESHAPE", x, n.known(2, 42, 8), newShape=[2, 42, 8])
    n.op("TRANSPOSE", x, n.known(0, 2, 1, 3))
    n.op("STRIDED_SLICE", x, n.known(0, 1, 0, 0), n.known(2, 5, 6, 8), n.known(1, 2, 1, 1))
    n.op("RESIZE_NEAREST_NEIGHBOR", x, n.known(14, 12), halfPixelCenters=True)
    n.op("REDUCE_MAX", x, n.known(1, 2), keepDims=True)
    n.op("MAXIMUM", x, x)


Group = Callable[[Quantized, int, int], None]


def build(group: Group, path: Path) -> tuple[Path, Quantized, tuple[int, int]]:
    n = Quantized()
    x, y = n.value("x", shape=SHAPE), n.value("y", 0.17, -44, shape=SHAPE)
    group(n, x, y)
    return n.save(path, (x, y), tuple(n.outputs)), n, (x, y)


def integer_program(path: Path) -> Graph:
    return chain(canonicalize(), lower_to_integer(target=load_target("npu-tflite")))(load(path))


@pytest.mark.parametrize("group", [windows, sums, rest])
def test_programs_and_their_onnx_models_give_the_same_integers(group: Group, tmp_path: Path) -> None:
    path, n, inputs = build(group, tmp_path / "integers.tflite")
    graph = integer_program(path)
    assert not [node.place for node in graph.nodes if node.host]
    assert {type_.dtype for type_ in (*graph.input_types, *graph.output_types)} == {DType.I8}
    assert Program.of_bytes(Program.make(graph, load_target("npu-tflite"), []).bytes).graph == graph
    run, interpreter = evaluate(graph), reference(path)
    session = onnxruntime.InferenceSession(to_exact_onnx(graph, interface="integer").SerializeToString())
    for seed in range(5):
        arrays = [np.random.default_rng((seed, one)).integers(-128, 128, SHAPE, np.int8) for one in (0, 1)]
        wanted = computed(interpreter, dict(zip(inputs, arrays, strict=True)), tuple(n.outputs))
        again = session.run(list(graph.outputs), dict(zip(graph.inputs, arrays, strict=True)))
        for name, ours, theirs, exact in zip(graph.outputs, map(np.asarray, run(*arrays)), wanted, again, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
            np.testing.assert_array_equal(exact, theirs, err_msg=name)


def test_what_has_no_rule_of_its_own_is_off_by_a_step(tmp_path: Path) -> None:
    n = Quantized()
    x = n.value("x", shape=SHAPE)
    n.op("LEAKY_RELU", x, scale=0.06, zero=-50, alpha=0.2)
    n.op("HARD_SWISH", x, scale=0.04, zero=-60)
    n.op("RESIZE_BILINEAR", x, n.known(11, 9), halfPixelCenters=True)
    path = n.save(tmp_path / "near.tflite", (x,), tuple(n.outputs))
    graph, interpreter = integer_program(path), reference(path)
    array = np.random.default_rng(2).integers(-128, 128, SHAPE, np.int8)
    wanted = computed(interpreter, {x: array}, tuple(n.outputs))
    for ours, theirs in zip(map(np.asarray, evaluate(graph)(array)), wanted, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_unsigned_integers_are_read_as_signed_ones(tmp_path: Path) -> None:
    n = Quantized()
    x = n.tensor("x", SHAPE, "uint8", scales=(0.05,), zero=131)
    signed = n.value("signed")
    n.add("QUANTIZE", (x,), (signed,))
    n.op("RELU", signed, scale=0.05, zero=3)
    path = n.save(tmp_path / "unsigned.tflite", (x,), tuple(n.outputs))
    array = np.random.default_rng(3).integers(0, 256, SHAPE, np.uint8)
    (wanted,) = computed(reference(path), {x: array}, tuple(n.outputs))
    graph = integer_program(path)
    assert [node.op.name for node in graph.nodes] == ["npu.lut"]
    np.testing.assert_array_equal(evaluate(graph)((array ^ 128).view(np.int8))[0], wanted)


def test_integer_weights_of_float_data_become_floats(tmp_path: Path) -> None:
    n = Quantized()
    x, y = n.tensor("x", (2, 4)), n.tensor("y", (2, 3))
    matrix, (scale,) = n.weights("m", (3, 4), None)
    n.add("FULLY_CONNECTED", (x, matrix, -1), (y,))
    array = np.random.default_rng(3).normal(size=(2, 4)).astype(np.float32)
    graph = load(n.save(tmp_path / "hybrid.tflite", (x,), (y,)))
    stored = np.frombuffer(n.buffers[1].data.tobytes(), np.int8).reshape(3, 4)
    np.testing.assert_allclose(evaluate(graph)(array)[0], array @ (stored * np.float32(scale)).T, rtol=1e-5)


def test_layouts_cost_no_transposes(tmp_path: Path) -> None:
    for shape in (SHAPE, (1, 7, 6, 1)):
        n = Quantized()
        x = n.value("x", shape=shape)
        w, _ = n.weights("w", (5, 3, 3, shape[3]), 0)
        y = n.op("CONV_2D", x, w, n.bias("b", (0.01,), 5, 0.05), scale=0.4, padding=SAME, strideH=1, strideW=1)
        n.op("RESHAPE", y, n.known(shape[0], 42, 5), scale=0.4, newShape=[shape[0], 42, 5])
        graph = integer_program(n.save(tmp_path / "layouts.tflite", (x,), (n.outputs[-1],)))
        assert [node.op.name for node in graph.nodes] == ["npu.conv2d", "reshape"]


def test_windows_of_one_element_run_on_every_target(tmp_path: Path) -> None:
    n = Quantized()
    x = n.value("x", shape=SHAPE)
    n.op("AVERAGE_POOL_2D", x, padding=SAME, filterHeight=2, filterWidth=2, strideH=1, strideW=1)
    path = n.save(tmp_path / "edges.tflite", (x,), tuple(n.outputs))
    graph = chain(canonicalize(), lower_to_integer(target=load_target("npu-asym")))(load(path))
    array = np.random.default_rng(2).integers(-128, 128, SHAPE, np.int8)
    (wanted,) = computed(reference(path), {x: array}, tuple(n.outputs))
    found = np.asarray(evaluate(graph)(array)[0])
    assert np.abs(found.astype(int) - wanted).max() <= 1
    np.testing.assert_array_equal(found[:, -1, -1], array[:, -1, -1])
