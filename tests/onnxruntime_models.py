"""A small network as onnxruntime's own tools quantize it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime import quantization

X = (1, 3, 8, 8)


def write(path: Path) -> Path:
    """The float network: convolutions, poolings, a gate, a concatenation, products with weights either way, softmax."""
    generator = np.random.default_rng(0)
    weights = {
        name: (generator.normal(size=shape) * 0.3).astype(np.float32)
        for name, shape in {
            **{"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "wg": (6, 16), "bg": (6,), "wm": (6, 4)},
        }.items()
    }
    table: list[tuple[str, str, str, dict[str, int | list[int]]]] = [
        ("Conv", "x w1 b1", "c1", {"pads": [1] * 4}),
        ("Relu", "c1", "r1", {}),
        ("MaxPool", "r1", "p1", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", "p1 w2", "c2", {"pads": [1] * 4}),
        ("LeakyRelu", "c2", "l2", {}),
        ("Add", "p1 l2", "a", {}),
        ("Sigmoid", "a", "s", {}),
        ("Mul", "a s", "m", {}),
        ("Concat", "m p1", "k", {"axis": 1}),
        ("AveragePool", "k", "ap", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("GlobalAveragePool", "ap", "g", {}),
        ("Flatten", "g", "f", {}),
        ("Gemm", "f wg bg", "y0", {"transB": 1}),
        ("MatMul", "y0 wm", "y1", {}),
        ("Softmax", "y1", "y", {}),
    ]
    nodes = [
        helper.make_node(op, read.split(), [made], name=made, **attributes)  # type: ignore[arg-type]  # by name
        for op, read, made, attributes in table
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def samples(count: int, seed: int = 1) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=X).astype(np.float32) for _ in range(count)]


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self) -> None:
        self.left: Iterator[dict[str, np.ndarray]] = iter([{"x": x} for x in samples(8, seed=0)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def static(source: Path, path: Path, form: str, *, signed: bool = False, per_channel: bool = False) -> Path:
    """The network with calibrated scales, in the `form` QDQ or QOperator."""
    with quiet():
        quantization.quantize_static(
            source,
            path,
            Reader(),
            quant_format=quantization.QuantFormat[form],
            activation_type=quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8,
            per_channel=per_channel,
        )
    return path


def dynamic(source: Path, path: Path, *, signed: bool = False) -> Path:
    """The network with 8-bit weights, whose activations find their scales while it runs."""
    kind = quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8
    with quiet():
        quantization.quantize_dynamic(source, path, weight_type=kind)
    return path


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the tools' advice out of the tests."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """What onnxruntime computes, each node as the file has it; its 8-bit kernels are told not to saturate."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    (y,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    return np.asarray(y)
