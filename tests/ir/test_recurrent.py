"""Recurrent layers compute what onnxruntime computes, with every option that ONNX has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from npuq.ir import DType, Op, RuleError, TensorType, parse_type, results_of
from npuq.ir.ops.recurrent import Gru, Lstm, Recurrent, Rnn, activation

STEPS, BATCH, FEATURES, HIDDEN = 6, 3, 4, 5


def in_onnxruntime(
    operator: str, operands: Mapping[str, np.ndarray | None], results: int, **attributes: Any
) -> list[Any]:
    """What onnxruntime computes; an operand that is None is left out."""
    given = {name: array for name, array in operands.items() if array is not None}
    node = helper.make_node(
        operator,
        [name if name in given else "" for name in operands],
        [f"y{index}" for index in range(results)],
        hidden_size=HIDDEN,
        **attributes,
    )
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in given.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output],
    )
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source.SerializeToString(), options)
    return list(session.run(None, given))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def settle(op: Recurrent, *, lengths: bool = False, peepholes: bool = False, **attributes: Any) -> None:
    """Compare an op with onnxruntime on random numbers; `attributes` are ONNX's own."""
    d, rows = op.directions, op.gates * HIDDEN
    x, w, r = numbers(STEPS, BATCH, FEATURES), numbers(d, rows, FEATURES) / 2, numbers(d, rows, HIDDEN) / 2
    b, state = numbers(d, 2 * rows) / 2, numbers(d, BATCH, HIDDEN)
    long = np.array([STEPS, 1, 4], np.int32) if lengths else None
    onnx = {"x": x, "w": w, "r": r, "b": b, "lengths": long, "h0": state}
    wb, rb = np.split(b, 2, -1)
    biases = (wb, rb) if isinstance(op, Gru) else (wb + rb,)
    states: tuple[np.ndarray, ...] = (state,)
    rest: tuple[np.ndarray, ...] = ()
    if isinstance(op, Lstm):
        cell = numbers(d, BATCH, HIDDEN) * 2
        onnx["c0"], states = cell, (state, cell)
        holes = numbers(d, 3 * HIDDEN) if peepholes else None
        onnx["p"] = holes
        if holes is not None or long is not None:
            rest = (np.zeros((d, 3 * HIDDEN), np.float32) if holes is None else holes,)
    operands = (x, w, r, *biases, *states, *rest, *(() if long is None else (long,)))
    wanted = in_onnxruntime(type(op).__name__.upper(), onnx, len(states) + 1, direction=op.direction, **attributes)
    inferred = results_of(op, tuple(TensorType(DType.of(array.dtype), array.shape) for array in operands))
    found = jax.jit(op.evaluate)(*operands)
    for type_, one, other in zip(inferred, found, wanted, strict=True):
        assert type_.shape == one.shape
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("direction", "lengths"), [("forward", False), ("reverse", True), ("bidirectional", False), ("bidirectional", True)]
)
def test_directions_and_lengths(direction: Any, lengths: bool) -> None:
    for kind in (Lstm, Gru, Rnn):
        settle(kind(direction=direction), lengths=lengths)


def test_peepholes_and_forgetting_by_the_input() -> None:
    settle(Lstm(), peepholes=True)
    settle(Lstm(direction="bidirectional"), peepholes=True, lengths=True)
    settle(Lstm(direction="reverse", input_forget=True), input_forget=1)


def test_clips() -> None:
    settle(Lstm(direction="bidirectional", clip=0.5), peepholes=True, clip=0.5)
    for kind in (Lstm, Gru, Rnn):
        settle(kind(clip=0.5), clip=0.5)


def test_a_reset_gate_behind_the_product() -> None:
    settle(Gru(direction="bidirectional", linear_before_reset=True), linear_before_reset=1)


ACTIVATIONS = (
    *(("Relu", ()), ("Tanh", ()), ("Sigmoid", ()), ("Softsign", ()), ("Softplus", ())),
    *(("Affine", (0.5, 0.25)), ("LeakyRelu", (0.2,)), ("ThresholdedRelu", (0.4,)), ("ScaledTanh", (0.7, 1.5))),
    *(("HardSigmoid", (0.3, 0.6)), ("Elu", (0.8,))),
)


@pytest.mark.parametrize(("name", "constants"), ACTIVATIONS)
def test_activations(name: str, constants: tuple[float, ...]) -> None:
    alpha, beta = constants[:1], constants[1:2]
    text = f"{name}({', '.join(map(str, constants))})" if constants else name
    given: dict[str, Any] = {"activation_alpha": alpha} if alpha else {}
    if beta:
        given["activation_beta"] = beta
    settle(Rnn(activations=(text,)), activations=[name], **given)


@pytest.mark.parametrize("name", ["LeakyRelu", "HardSigmoid", "Elu"])
def test_constants_have_onnx_defaults(name: str) -> None:
    settle(Rnn(activations=(name,)), activations=[name])


def test_every_direction_has_its_activations() -> None:
    names = ["Sigmoid", "Softsign", "Tanh", "HardSigmoid", "Tanh", "Relu"]
    settle(Lstm(direction="bidirectional", activations=tuple(names)), activations=names)
    names = ["HardSigmoid", "Tanh", "Sigmoid", "Softsign"]
    settle(Gru(direction="bidirectional", activations=tuple(names)), activations=names)


X, W, R, B, H = "f32[6,3,4]", "f32[1,20,4]", "f32[1,20,5]", "f32[1,20]", "f32[1,3,5]"
REFUSED: tuple[tuple[Op, tuple[str, ...], str], ...] = (
    (Lstm(), ("f32[6,3]", W, R, B, H, H), "operand f32[6,3], floats [steps, batch, features] wanted"),
    (Lstm(), (X, "f32[1,16,4]", R, B, H, H), "weights f32[1,16,4], f32[1,20,4] wanted"),
    (Lstm(), (X, W, "f32[20,5]", B, H, H), "recurrent weights f32[20,5], rank 3 wanted"),
    (Lstm(), (X, W, R, "f32[1,40]", H, H), "bias f32[1,40], f32[1,20] wanted"),
    (Lstm(), (X, W, R, B, H, "f32[2,3,5]"), "initial state f32[2,3,5], f32[1,3,5] wanted"),
    (Lstm(), (X, W, R, B, H, H, "f32[1,5]"), "peepholes f32[1,5], f32[1,15] wanted"),
    (Rnn(), (X, "f32[1,5,4]", "f32[1,5,5]", "f32[1,5]", H, "i64[3]"), "lengths i64[3], i32[3] wanted"),
    (Lstm(activations=("Tanh",)), (X, W, R, B, H, H), "1 activations, 3 wanted"),
    (Lstm(clip=-1.0), (X, W, R, B, H, H), "clip -1.0, at least 0 wanted"),
    (Rnn(activations=("Sine",)), (X, W, R, B, H), "there is no activation 'Sine'; there are Relu, Tanh"),
    (Rnn(activations=("Elu(1, 2)",)), (X, W, R, B, H), "activation 'Elu(1, 2)': 2 numbers, at most 1 wanted"),
    (Rnn(activations=("Elu(a)",)), (X, W, R, B, H), "activation 'Elu(a)': numbers wanted between the brackets"),
)


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals_name_rule_and_numbers(op: Op, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuleError) as caught:
        results_of(op, tuple(map(parse_type, types)))
    assert message in str(caught.value)


def test_an_activation_keeps_its_element_type() -> None:
    x = np.linspace(-2, 2, 7).astype(np.float16)
    for name, constants in ACTIVATIONS:
        text = f"{name}({', '.join(map(str, constants))})" if constants else name
        assert jax.eval_shape(activation(text), x).dtype == np.float16
