"""Exporters of normalization by the data's own statistics, of lengths and of recurrent layers."""

from __future__ import annotations

import numpy as np

from npuq.ir.ops import elementwise, norm, recurrent

from .writer import Writer, exports


@exports(norm.LayerNorm)
def layer_normalization(write: Writer, op: norm.LayerNorm) -> None:
    x, scale, *bias = write.operands
    if write.opset >= 17:
        write.last("LayerNormalization", x, scale, *bias, axis=op.axis, epsilon=op.epsilon)
        return
    axes, attributes = write.over("ReduceMean", op.axes(write.node.type.rank), keepdims=1)
    distance = write.step("Sub", x, write.step("ReduceMean", x, *axes, **attributes))
    _divided(write, op, distance, scale, *bias)


@exports(norm.RmsNorm)
def rms_normalization(write: Writer, op: norm.RmsNorm) -> None:
    """ONNX has the operator from opset 23 on."""
    _divided(write, op, *write.operands)


def _divided(write: Writer, op: norm.LayerNorm | norm.RmsNorm, x: str, scale: str, *bias: str) -> None:
    """x / sqrt(mean(x^2) + epsilon), times a scale, plus an optional bias."""
    axes, attributes = write.over("ReduceMean", op.axes(write.node.type.rank), keepdims=1)
    square = write.step("ReduceMean", write.step("Mul", x, x), *axes, **attributes)
    epsilon = write.constant(np.asarray(op.epsilon).astype(write.node.type.dtype.numpy), "epsilon")
    root = write.step("Sqrt", write.step("Add", square, epsilon))
    quotient = write.step("Div", x, root)
    if bias:
        write.last("Add", write.step("Mul", quotient, scale), *bias)
    else:
        write.last("Mul", quotient, scale)


@exports(elementwise.Hypot)
def hypot(write: Writer, op: elementwise.Hypot) -> None:
    squares = (write.step("Mul", operand, operand) for operand in write.operands)
    write.last("Sqrt", write.step("Add", *squares))


@exports(recurrent.Lstm)
def lstm(write: Writer, op: recurrent.Lstm) -> None:
    x, w, r, b, h0, c0, *rest = write.operands
    peepholes, lengths = (*rest, "", "")[:2]
    biases = _biases(write, b)
    attributes = {**_attributes(write, op), "input_forget": int(op.input_forget)}
    write.last("LSTM", x, w, r, biases, lengths, h0, c0, peepholes, **attributes)


@exports(recurrent.Gru)
def gru(write: Writer, op: recurrent.Gru) -> None:
    x, w, r, wb, rb, h0, *lengths = write.operands
    biases = write.step("Concat", wb, rb, axis=1)
    attributes = {**_attributes(write, op), "linear_before_reset": int(op.linear_before_reset)}
    write.last("GRU", x, w, r, biases, *(lengths or [""]), h0, **attributes)


@exports(recurrent.Rnn)
def rnn(write: Writer, op: recurrent.Rnn) -> None:
    x, w, r, b, h0, *lengths = write.operands
    write.last("RNN", x, w, r, _biases(write, b), *(lengths or [""]), h0, **_attributes(write, op))


def _biases(write: Writer, b: str) -> str:
    """ONNX requires a second bias, which the first contains here."""
    type_ = write.operand_type(3)
    return write.step("Concat", b, write.constant(np.zeros(type_.shape, type_.dtype.numpy), "bias"), axis=1)


def _attributes(write: Writer, op: recurrent.Recurrent) -> dict[str, object]:
    """The attributes of all recurrent operators; activations' constants are written, since defaults differ."""
    texts = [text for d in range(op.directions) for text in op.named(d)]
    names, constants = zip(*map(recurrent.activation_parts, texts), strict=True)
    attributes: dict[str, object] = {
        "direction": op.direction,
        "hidden_size": write.operand_type(2).shape[2],
        "activations": list(names),
    }
    for place, name in enumerate(("activation_alpha", "activation_beta")):
        values = [numbers[place] for numbers in constants if len(numbers) > place]
        if values:
            attributes[name] = values
    return {**attributes, "clip": op.clip} if op.clip > 0 else attributes
