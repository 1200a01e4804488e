"""Operators as opsets before those of ONNX's own tests define them, against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npuq.frontends import load
from npuq.ir import NpuqError, evaluate

X = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
F = np.float32


def model(
    opset: int, operator: str, constants: Sequence[np.ndarray], attributes: Mapping[str, Any], outputs: int = 1
) -> ModelProto:
    """One node over the input x and constants."""
    names = [f"c{index}" for index in range(len(constants))]
    results = [f"y{index}" for index in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], results, **attributes)],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [numpy_helper.from_array(array, name) for array, name in zip(constants, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


CASES: dict[str, tuple[int, str, list[np.ndarray], dict[str, Any], int]] = {
    "clip by attributes": (7, "Clip", [], {"min": -0.5, "max": 1.0}, 1),
    "clip below": (10, "Clip", [], {"max": 0.25}, 1),
    "dropout": (7, "Dropout", [], {"ratio": 0.3}, 1),
    "pad by attributes": (10, "Pad", [], {"pads": [0, 1, 0, 2, 1, 0, 0, 3], "value": 2.5}, 1),
    "pad by reflection": (7, "Pad", [], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}, 1),
    "pad by negative numbers": (10, "Pad", [], {"pads": [0, 0, -1, 2, 0, 0, 3, -2], "value": 1.0}, 1),
    "slice by attributes": (9, "Slice", [], {"starts": [1, -3], "ends": [100, -1], "axes": [1, 3]}, 1),
    "slice of leading axes": (7, "Slice", [], {"starts": [0, 1], "ends": [1, 3]}, 1),
    "split by attribute": (7, "Split", [], {"axis": 2, "split": [1, 3, 2]}, 3),
    "split evenly": (11, "Split", [], {"axis": -3}, 2),
    "squeeze nothing": (7, "Squeeze", [], {}, 1),
    "unsqueeze by attribute": (11, "Unsqueeze", [], {"axes": [0, -1]}, 1),
    "softmax of rows": (11, "Softmax", [], {"axis": 2}, 1),
    "softmax of rows by default": (7, "Softmax", [], {}, 1),
    "log softmax of rows": (12, "LogSoftmax", [], {"axis": -2}, 1),
    "sum by attribute": (11, "ReduceSum", [], {"axes": [-1, 1], "keepdims": 0}, 1),
    "mean of all": (7, "ReduceMean", [], {}, 1),
    "mean by attribute": (13, "ReduceMean", [], {"axes": [2, 3]}, 1),
    "upsample by attribute": (7, "Upsample", [], {"scales": [1.0, 1.0, 2.0, 3.0]}, 1),
    "upsample linearly": (9, "Upsample", [np.array([1, 1, 2, 2], F)], {"mode": "linear"}, 1),
    "upsample by a fraction": (9, "Upsample", [np.array([1, 1, 1.2, 1.6], F)], {}, 1),
    "resize": (10, "Resize", [np.array([1, 1, 0.6, 1.7], F)], {"mode": "nearest"}, 1),
    "resize linearly": (10, "Resize", [np.array([1, 1, 0.6, 1.7], F)], {"mode": "linear"}, 1),
    "resize in halves": (11, "Resize", [np.zeros(0, F), np.array([1, 1, 0.7, 1.3], F)], {"mode": "linear"}, 1),
    "resize to sizes": (13, "Resize", [np.zeros(0, F), np.zeros(0, F), np.array([2, 4, 9, 7])], {"mode": "cubic"}, 1),
    "flatten": (7, "Flatten", [], {"axis": 2}, 1),
    "flatten to one row": (7, "Flatten", [], {"axis": 0}, 1),
    "transpose": (7, "Transpose", [], {}, 1),
    "gather": (7, "Gather", [np.array([[3, 0]])], {"axis": 1}, 1),
    "tile": (7, "Tile", [np.array([1, 2, 1, 3])], {}, 1),
    "reshape": (7, "Reshape", [np.array([0, -1, 3])], {}, 1),
    "leaky relu": (7, "LeakyRelu", [], {}, 1),
    "elu": (7, "Elu", [], {"alpha": 2.0}, 1),
    "prelu": (7, "PRelu", [np.array([[[0.1]], [[0.2]], [[0.3]], [[-0.4]]], F)], {}, 1),
    "mean": (8, "Mean", [np.ones((6, 1), F), np.full(5, 2, F)], {}, 1),
    "power": (7, "Pow", [np.array(2, F)], {}, 1),
    "argmax": (7, "ArgMax", [], {"axis": 3, "keepdims": 0}, 1),
}


@pytest.mark.parametrize(("opset", "operator", "constants", "attributes", "outputs"), CASES.values(), ids=CASES)
def test_equals_onnxruntime(
    opset: int, operator: str, constants: list[np.ndarray], attributes: dict[str, Any], outputs: int
) -> None:
    proto = model(opset, operator, constants, attributes, outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    wanted = session.run(None, {"x": X})
    for output, reference in zip(evaluate(load(proto))(X), wanted, strict=True):
        assert output.dtype == reference.dtype
        np.testing.assert_allclose(output, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("opset", "operator", "constants", "attributes", "said"),
    [
        (13, "Reshape", [np.array([7, -1])], {}, "240 elements do not fill [7, -1]"),
        (13, "Reshape", [np.array([-1, -1])], {}, "shape [-1, -1]: at most one -1 and no other below 0"),
        (13, "Squeeze", [np.array([1])], {}, "axis 1 has size 4, 1 wanted"),
        (13, "Unsqueeze", [], {}, "axes are missing"),
        (13, "Unsqueeze", [np.array([0, 0])], {}, "axes (0, 0) of 6 axes: one occurs twice"),
        (13, "Softmax", [], {"axis": 4}, "axis 4 of 4 axes"),
        (13, "Concat", [], {}, "attribute 'axis' is missing, an int wanted"),
        (13, "Gather", [np.array([4])], {"axis": 1}, "indices from 4 to 4 on an axis of 4"),
        (13, "Split", [np.array([1, 2])], {"axis": 1}, "2 parts for 1 outputs"),
        (13, "Pad", [np.array([1, 1])], {}, "2 pads for 4 axes, 2 per axis wanted"),
        (13, "Pad", [np.zeros(8, np.int64)], {"mode": "mirror"}, "mode 'mirror' is not known"),
        (13, "DepthToSpace", [], {"blocksize": 3}, "4 channels do not hold blocks of 3 x 3"),
        (13, "Cast", [], {"to": 99}, "attribute 'to' is 99, which is no element type"),
        (13, "Cast", [], {"to": TensorProto.STRING}, "element type object is not supported"),
        (13, "Slice", [np.array([0]), np.array([1]), np.array([1]), np.array([0])], {}, "steps (0,): none may be 0"),
        (
            18,
            "Resize",
            [np.zeros(0, F), np.ones(4, F)],
            {"antialias": 1},
            "antialias, but no kernel to widen",
        ),
        (13, "Resize", [np.zeros(0, F), np.zeros(4, F)], {}, "scales (0.0, 0.0, 0.0, 0.0): all must be > 0"),
        (13, "Tile", [np.array([1, -1, 1, 1])], {}, "repeats (1, -1, 1, 1): none may be negative"),
        (20, "Gelu", [], {"approximate": "sigmoid"}, "attribute 'approximate' is 'sigmoid', 'none' or 'tanh' wanted"),
        (13, "Expand", [np.array([3, 4, 6, 5])], {}, "shapes (2, 4, 6, 5) and (3, 4, 6, 5) do not broadcast"),
        (13, "Reshape", [np.array([0.5], F)], {}, "the shape must be a list of integers"),
    ],
)
def test_broken_rules_are_told(
    opset: int, operator: str, constants: list[np.ndarray], attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(NpuqError) as caught:
        load(model(opset, operator, constants, attributes))
    assert str(caught.value) == f"old:y0: {operator}: {said}"
