"""Recurrent layers with ONNX's options compute what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npuq.frontends import load
from npuq.ir import NpuqError, evaluate

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def model(op: str, operands: dict[str, np.ndarray | None], **attributes: Any) -> ModelProto:
    """One layer; its data is an input, everything else is stored, a None left out."""
    names = [name if array is not None else "" for name, array in operands.items()]
    outputs = ["y", "h", "c"][: 3 if op == "LSTM" else 2]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, hidden_size=HIDDEN, **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, operands["x"].shape)],  # type: ignore[union-attr]  # there
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in operands.items() if array is not None and name != "x"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operands(op: str, directions: int, *, lengths: bool, peepholes: bool) -> dict[str, np.ndarray | None]:
    """Random operands in ONNX's order."""
    rng = np.random.default_rng(0)
    rows = GATES[op] * HIDDEN
    shapes = {"x": (STEPS, BATCH, FEATURES), "w": (directions, rows, FEATURES), "r": (directions, rows, HIDDEN)}
    found: dict[str, np.ndarray | None] = {name: rng.normal(0, 0.7, s).astype("f") for name, s in shapes.items()}
    found["b"] = rng.normal(0, 0.5, (directions, 2 * rows)).astype("f")
    found["lengths"] = np.asarray([5, 2, 3], np.int32) if lengths else None
    for state in ("h0", "c0") if op == "LSTM" else ("h0",):
        found[state] = rng.normal(0, 0.5, (directions, BATCH, HIDDEN)).astype("f")
    if op == "LSTM":
        found["p"] = rng.normal(0, 0.5, (directions, 3 * HIDDEN)).astype("f") if peepholes else None
    return found


def assert_equals_onnxruntime(made: ModelProto, x: np.ndarray) -> None:
    wanted = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    for ours, theirs in zip(evaluate(load(made))(x), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "attributes", "options"),
    [
        ("LSTM", {"direction": "bidirectional"}, {"lengths": True, "peepholes": True}),
        ("LSTM", {"direction": "reverse", "clip": 0.4, "input_forget": 1}, {"lengths": False, "peepholes": True}),
        ("LSTM", {"direction": "reverse"}, {"lengths": True, "peepholes": False}),
        (
            "LSTM",
            {
                "activations": ["hardsigmoid", "ScaledTanh", "Affine"],
                "activation_alpha": [0.3, 0.8, 1.1],
                "activation_beta": [0.4, 1.2],
            },
            {"lengths": False, "peepholes": False},
        ),
        ("GRU", {"direction": "bidirectional", "linear_before_reset": 1}, {"lengths": True, "peepholes": False}),
        ("GRU", {"activations": ["Sigmoid", "Softsign"], "clip": 0.5}, {"lengths": False, "peepholes": False}),
        ("RNN", {"direction": "bidirectional"}, {"lengths": True, "peepholes": False}),
        (
            "RNN",
            {"direction": "bidirectional", "activations": ["Tanh", "LeakyRelu"], "activation_alpha": [0.2]},
            {"lengths": False, "peepholes": False},
        ),
    ],
    ids=str,
)
def test_options(op: str, attributes: dict[str, Any], options: dict[str, bool]) -> None:
    given = operands(op, 2 if attributes.get("direction") == "bidirectional" else 1, **options)
    x = given["x"]
    assert x is not None
    assert_equals_onnxruntime(model(op, given, **attributes), x)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_only_data_and_weights(op: str) -> None:
    given = operands(op, 1, lengths=False, peepholes=False)
    kept = {name: given[name] for name in ("x", "w", "r")}
    x = kept["x"]
    assert x is not None
    assert_equals_onnxruntime(model(op, kept), x)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_layout_moves_the_batch_to_the_front(op: str) -> None:
    """onnxruntime refuses this layout; the other one is its reference."""
    given = operands(op, 2, lengths=True, peepholes=True)
    x = given["x"]
    assert x is not None
    time_first = evaluate(load(model(op, given, direction="bidirectional")))(x)
    turned = {
        name: array.swapaxes(0, 1) if array is not None and name in ("x", "h0", "c0") else array
        for name, array in given.items()
    }
    y, *states = evaluate(load(model(op, turned, direction="bidirectional", layout=1)))(x.swapaxes(0, 1))
    np.testing.assert_array_equal(np.asarray(y), np.asarray(time_first[0]).transpose(2, 0, 1, 3))
    for state, wanted in zip(states, time_first[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(state), np.asarray(wanted).swapaxes(0, 1))


@pytest.mark.parametrize(
    ("change", "attributes", "message"),
    [
        ({}, {"direction": "up"}, "layer:y: RNN: direction 'up', one of forward, reverse, bidirectional wanted"),
        ({}, {"activations": ["Sin"]}, "layer:y: RNN: activation 'Sin', one of Relu, Tanh, "),
        ({"b": np.zeros((1, 3), np.float32)}, {}, "layer:y: RNN: biases of shape (1, 3), (1, 12) wanted"),
        ({"lengths": np.asarray([5, 6, 1], np.int32)}, {}, "layer:y: RNN: sequence lengths beyond 5 steps"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, np.ndarray], attributes: dict[str, Any], message: str) -> None:
    given = {**operands("RNN", 1, lengths=False, peepholes=False), **change}
    with pytest.raises(NpuqError) as caught:
        load(model("RNN", given, **attributes))
    assert str(caught.value).startswith(message)
