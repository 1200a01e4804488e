"""Converters of recurrent layers; the ops have ONNX's order of gates."""

from __future__ import annotations

from functools import partial

import numpy as np

from npuq.ir import DType, ops, require
from npuq.ir.ops.recurrent import ACTIVATIONS, Direction

from ...context import Context, Node
from ..registry import converts

DIRECTIONS: dict[str, Direction] = {"forward": "forward", "reverse": "reverse", "bidirectional": "bidirectional"}
FLAGS = ("input_forget", "linear_before_reset")


def _recurrent(kind: type[ops.Recurrent], context: Context, node: Node) -> tuple[str, ...]:
    """Biases are summed, except those of a GRU; absent peepholes before lengths become zeros."""
    direction = node.string("direction", "forward")
    require(direction in DIRECTIONS, f"direction {direction!r}, one of {', '.join(DIRECTIONS)} wanted")
    w, r = node.operand(1), node.operand(2)
    require(context.type(r).rank == 3, f"recurrent weights of rank {context.type(r).rank}, 3 wanted")
    directions, _, hidden = context.type(r).shape
    require(node.int("hidden_size", hidden) == hidden, f"hidden_size, but the recurrent weights have {hidden}")
    activations, clip = _activations(node, direction, kind), node.float("clip", 0.0)
    flags = {name: node.flag(name, False) for name in FLAGS if hasattr(kind, name)}
    op = kind(direction=DIRECTIONS[direction], activations=activations, clip=clip, **flags)
    x, states, lengths = _operands(context, node, (5, 6) if kind is ops.Lstm else (5,))
    biases = _biases(context, node, kind.gates)
    if kind is not ops.Gru:
        biases = (context.add(ops.Add(), *biases),)
    peepholes = node.optional(7) if kind is ops.Lstm else None
    if kind is ops.Lstm and peepholes is None and lengths is not None:
        peepholes = _zeros(context, directions, 3 * hidden)
    made = context.add_all(op, x, w, r, *biases, *states, *filter(None, (peepholes, lengths)))
    if not node.flag("layout", False):
        return made
    every = context.add(ops.Transpose(order=(2, 0, 1, 3)), made[0])
    return (every, *(context.add(ops.Transpose(order=(1, 0, 2)), state) for state in made[1:]))


for _name, _kind in (("LSTM", ops.Lstm), ("GRU", ops.Gru), ("RNN", ops.Rnn)):
    converts(_name)(partial(_recurrent, _kind))


def _activations(node: Node, direction: str, kind: type[ops.Recurrent]) -> tuple[str, ...]:
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
    return context.cast(lengths, DType.I32)


def _biases(context: Context, node: Node, gates: int) -> tuple[str, ...]:
    """The biases of the data's and of the state's weights [D, gates * H]; absent ones are zeros."""
    directions, _, hidden = context.type(node.operand(2)).shape
    rows, both = gates * hidden, node.optional(3)
    if both is None:
        return (_zeros(context, directions, rows),) * 2
    found, wanted = context.type(both).shape, (directions, 2 * rows)
    require(found == wanted, f"biases of shape {found}, {wanted} wanted")
    return context.parts(both, 1, (rows, rows))


def _zeros(context: Context, *shape: int) -> str:
    return context.constant(np.zeros(shape, context.type(context.node.operand(0)).dtype.numpy), "zeros")
