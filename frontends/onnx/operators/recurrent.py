"""Converters of recurrent layers; the ops have ONNX's order of gates."""

from __future__ import annotations

import numpy as np

from npuq.ir import DType, RuleError, ops, require
from npuq.ir.ops.recurrent import ACTIVATIONS, Direction

from ...context import Context, Node
from ..registry import converts

DIRECTIONS: dict[str, Direction] = {"forward": "forward", "reverse": "reverse", "bidirectional": "bidirectional"}


@converts("LSTM")
def lstm(context: Context, node: Node) -> tuple[str, ...]:
    """Both biases become one; absent peepholes before lengths become zeros."""
    direction, w, r = _weights(context, node, ops.Lstm)
    op = ops.Lstm(
        direction=direction,
        activations=_activations(node, direction, ops.Lstm),
        clip=node.float("clip", 0.0),
        input_forget=node.flag("input_forget", False),
    )
    x, states, lengths = _operands(context, node, (5, 6))
    bias = context.add(ops.Add(), *_biases(context, node, ops.Lstm.gates))
    d, _, hidden = context.type(r).shape
    trailing = [name for name in (node.optional(7), lengths) if name is not None]
    if lengths is not None and node.optional(7) is None:
        trailing = [_zeros(context, d, 3 * hidden), lengths]
    return _results(context, node, context.add_all(op, x, w, r, bias, *states, *trailing))


@converts("GRU")
def gru(context: Context, node: Node) -> tuple[str, ...]:
    direction, w, r = _weights(context, node, ops.Gru)
    op = ops.Gru(
        direction=direction,
        activations=_activations(node, direction, ops.Gru),
        clip=node.float("clip", 0.0),
        linear_before_reset=node.flag("linear_before_reset", False),
    )
    x, states, lengths = _operands(context, node, (5,))
    trailing = [] if lengths is None else [lengths]
    made = context.add_all(op, x, w, r, *_biases(context, node, ops.Gru.gates), *states, *trailing)
    return _results(context, node, made)


@converts("RNN")
def rnn(context: Context, node: Node) -> tuple[str, ...]:
    direction, w, r = _weights(context, node, ops.Rnn)
    op = ops.Rnn(direction=direction, activations=_activations(node, direction, ops.Rnn), clip=node.float("clip", 0.0))
    x, states, lengths = _operands(context, node, (5,))
    bias = context.add(ops.Add(), *_biases(context, node, ops.Rnn.gates))
    trailing = [] if lengths is None else [lengths]
    return _results(context, node, context.add_all(op, x, w, r, bias, *states, *trailing))


def _weights(context: Context, node: Node, kind: type[ops.Recurrent]) -> tuple[Direction, str, str]:
    """Return the direction and both weights; require sizes that fit."""
    direction = node.string("direction", "forward")
    require(direction in DIRECTIONS, f"direction {direction!r}, one of {', '.join(DIRECTIONS)} wanted")
    w, r = node.operand(1), node.operand(2)
    require(context.type(r).rank == 3, f"recurrent weights of rank {context.type(r).rank}, 3 wanted")
    hidden = context.type(r).shape[2]
    require(node.int("hidden_size", hidden) == hidden, f"hidden_size, but the recurrent weights have {hidden}")
    return DIRECTIONS[direction], w, r


def _activations(node: Node, direction: Direction, kind: type[ops.Recurrent]) -> tuple[str, ...]:
    """The activations with their constants; each consumes the next numbers of its kinds."""
    names = node.attributes.get("activations", kind.functions * (2 if direction == "bidirectional" else 1))
    numbers = (iter(node.floats("activation_alpha", ())), iter(node.floats("activation_beta", ())))
    known = {name.lower(): name for name in ACTIVATIONS}
    found = []
    for name in names:
        require(str(name).lower() in known, f"activation {name!r}, one of {', '.join(ACTIVATIONS)} wanted")
        spelled = known[str(name).lower()]
        defaults = ACTIVATIONS[spelled][1]
        constants = tuple(next(number, default) for number, default in zip(numbers, defaults, strict=False))
        found.append(spelled if constants == defaults else f"{spelled}({', '.join(map(repr, constants))})")
    return () if tuple(found) == kind.functions * (len(found) // len(kind.functions)) else tuple(found)


def _operands(context: Context, node: Node, places: tuple[int, ...]) -> tuple[str, list[str], str | None]:
    """Return the data with time first, the initial states with the direction first, and the lengths if needed."""
    x = node.operand(0)
    require(context.type(x).rank == 3, f"operand of rank {context.type(x).rank}, 3 wanted")
    batch_first = node.flag("layout", False)
    if batch_first:
        x = context.add(ops.Transpose(order=(1, 0, 2)), x)
    steps, batch, _ = context.type(x).shape
    directions, _, hidden = context.type(node.operand(2)).shape
    states = []
    for place in places:
        state = node.optional(place)
        if state is None:
            state = _zeros(context, directions, batch, hidden)
        elif batch_first:
            state = context.add(ops.Transpose(order=(1, 0, 2)), state)
        states.append(state)
    return x, states, _lengths(context, node, steps)


def _lengths(context: Context, node: Node, steps: int) -> str | None:
    """The sequences' lengths, or None if all are full."""
    lengths = node.optional(4)
    if lengths is None:
        return None
    known = context.known(lengths)
    if known is not None:
        if np.all(known == steps):
            return None
        require(bool(np.all((known >= 0) & (known <= steps))), f"sequence lengths beyond {steps} steps")
    return lengths if context.type(lengths).dtype is DType.I32 else context.add(ops.Cast(to=DType.I32), lengths)


def _biases(context: Context, node: Node, gates: int) -> tuple[str, str]:
    """The biases of the data's and of the state's weights [D, gates * H]; absent ones are zeros."""
    directions, _, hidden = context.type(node.operand(2)).shape
    rows, both = gates * hidden, node.optional(3)
    if both is None:
        zeros = _zeros(context, directions, rows)
        return zeros, zeros
    if context.type(both).shape != (directions, 2 * rows):
        raise RuleError(f"biases of shape {context.type(both).shape}, {(directions, 2 * rows)} wanted")
    first, second = (
        context.add(ops.Slice(starts=(0, start), stops=(directions, start + rows), steps=(1, 1)), both)
        for start in (0, rows)
    )
    return first, second


def _results(context: Context, node: Node, made: tuple[str, ...]) -> tuple[str, ...]:
    """Return all steps and the last states, the batch first if the file requires it."""
    if not node.flag("layout", False):
        return made
    every = context.add(ops.Transpose(order=(2, 0, 1, 3)), made[0])
    return (every, *(context.add(ops.Transpose(order=(1, 0, 2)), state) for state in made[1:]))


def _zeros(context: Context, *shape: int) -> str:
    return context.constant(np.zeros(shape, context.type(context.node.operand(0)).dtype.numpy), "zeros")
