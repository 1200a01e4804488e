"""Exporters of normalization by the data's own statistics, of lengths and of recurrent layers."""

from __future__ import annotations

import numpy as np

from npuq.ir import Node
from npuq.ir.ops import elementwise, layer_norm, recurrent

from .writer import Writer, exports


@exports(layer_norm.LayerNorm)
def layer_normalization(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, layer_norm.LayerNorm)
    x, scale, *bias = write.operands(node)
    if write.opset >= 17:
        write.last(node, "LayerNormalization", x, scale, *bias, axis=op.axis, epsilon=op.epsilon)
        return
    axes, attributes = write.over("ReduceMean", op.axes(node.type.rank), keepdims=1)
    distance = write.step(node, "Sub", x, write.step(node, "ReduceMean", x, *axes, **attributes))
    _divided(write, node, distance, (scale, *bias))


@exports(layer_norm.RmsNorm)
def rms_normalization(write: Writer, node: Node) -> None:
    """ONNX has the operator from opset 23 on."""
    op = node.op
    assert isinstance(op, layer_norm.RmsNorm)
    x, *scale = write.operands(node)
    _divided(write, node, x, tuple(scale))


def _divided(write: Writer, node: Node, x: str, factors: tuple[str, ...]) -> None:
    """x / sqrt(mean(x^2) + epsilon), times a scale, plus an optional bias."""
    op = node.op
    assert isinstance(op, (layer_norm.LayerNorm, layer_norm.RmsNorm))
    axes, attributes = write.over("ReduceMean", op.axes(node.type.rank), keepdims=1)
    square = write.step(node, "ReduceMean", write.step(node, "Mul", x, x), *axes, **attributes)
    epsilon = write.constant(np.asarray(op.epsilon).astype(node.type.dtype.numpy), "epsilon")
    root = write.step(node, "Sqrt", write.step(node, "Add", square, epsilon))
    scale, *bias = factors
    quotient = write.step(node, "Div", x, root)
    if bias:
        write.last(node, "Add", write.step(node, "Mul", quotient, scale), *bias)
    else:
        write.last(node, "Mul", quotient, scale)


@exports(elementwise.Hypot)
def hypot(write: Writer, node: Node) -> None:
    squares = (write.step(node, "Mul", operand, operand) for operand in write.operands(node))
    write.last(node, "Sqrt", write.step(node, "Add", *squares))


@exports(recurrent.Lstm)
def lstm(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, recurrent.Lstm)
    x, w, r, b, h0, c0, *rest = write.operands(node)
    peepholes, lengths = (*rest, "", "")[:2]
    biases = _biases(write, node, b)
    attributes = {**_attributes(write, node, op), "input_forget": int(op.input_forget)}
    write.last(node, "LSTM", x, w, r, biases, lengths, h0, c0, peepholes, **attributes)


@exports(recurrent.Gru)
def gru(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, recurrent.Gru)
    x, w, r, wb, rb, h0, *lengths = write.operands(node)
    biases = write.step(node, "Concat", wb, rb, axis=1)
    attributes = {**_attributes(write, node, op), "linear_before_reset": int(op.linear_before_reset)}
    write.last(node, "GRU", x, w, r, biases, *(lengths or [""]), h0, **attributes)


@exports(recurrent.Rnn)
def rnn(write: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, recurrent.Rnn)
    x, w, r, b, h0, *lengths = write.operands(node)
    write.last(node, "RNN", x, w, r, _biases(write, node, b), *(lengths or [""]), h0, **_attributes(write, node, op))


def _biases(write: Writer, node: Node, b: str) -> str:
    """ONNX requires a second bias, which the first contains here."""
    type_ = write.graph.types[node.operands[3]]
    return write.step(node, "Concat", b, write.constant(np.zeros(type_.shape, type_.dtype.numpy), "bias"), axis=1)


def _attributes(write: Writer, node: Node, op: recurrent.Recurrent) -> dict[str, object]:
    """The attributes of all recurrent operators; activations' constants are written, since defaults differ."""
    texts = [text for d in range(op.directions) for text in op.named(d)]
    names, constants = zip(*map(recurrent.activation_parts, texts), strict=True)
    attributes: dict[str, object] = {
        "direction": op.direction,
        "hidden_size": write.graph.types[node.operands[2]].shape[2],
        "activations": list(names),
    }
    for place, name in enumerate(("activation_alpha", "activation_beta")):
        given = [numbers[place] for numbers in constants if len(numbers) > place]
        if given:
            attributes[name] = given
    return {**attributes, "clip": op.clip} if op.clip > 0 else attributes
