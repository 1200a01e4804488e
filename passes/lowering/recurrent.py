"""Recurrent layers: a scale per row of weights, a table per gate, and a scale per result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from npuq.ir import Graph, Node, NpuqError, Op
from npuq.ir.arithmetic import multipliers_and_shifts
from npuq.ir.ops.npu import recurrent as npu_recurrent
from npuq.ir.ops.npu.recurrent import SUM_FRACTION, SUM_LIMIT, UNIT_FRACTION, Factor
from npuq.ir.ops.quant import Quantize
from npuq.ir.ops.recurrent import Gru, Lstm, Recurrent, Rnn, activation, activation_parts

from ..scales import weight_quantization
from ..target import Target, weight_range
from .context import Context, Emitted, Result
from .registry import Lowering, is_known

RAW = {"lstm": (1, 2, 3, 6, 7), "gru": (1, 2, 3, 4, 6), "rnn": (1, 2, 3, 5)}
"""The positions of the raw operands: known arrays, and the lengths behind them."""

TABLE_BITS = 12


def cannot_recur(graph: Graph, node: Node, target: Target) -> str | None:
    """Weights are known, lengths too or an input of the graph, and all activations lie within [-1, 1]."""
    op = node.op
    assert isinstance(op, Recurrent)
    for place in RAW[op.name]:
        operand = node.operands[place] if place < len(node.operands) else ""
        given = not operand or is_known(graph, operand) or (place == RAW[op.name][-1] and operand in graph.inputs)
        if not given:
            return f"operand %{operand} is computed, a known one wanted"
    for direction in range(op.directions):
        for text in op.named(direction):
            if input_fraction(text) is None:
                return f"activation {text} may leave [-1, 1]; Sigmoid, Tanh, HardSigmoid and ScaledTanh have tables"
    entries = (1 << TABLE_BITS) + 1
    return None if entries in target.table_sizes else f"{target.name} has no table of {entries} entries"


def input_fraction(text: str) -> int | None:
    """The fraction bits of what an activation reads, so that 16 bits reach its saturation; None for unbounded ones."""
    name, constants = activation_parts(text)
    match name:
        case "Sigmoid":
            return 11
        case "Tanh":
            return 12
        case "HardSigmoid" if constants[0] > 0:
            reach = max(abs(constants[1]), abs(1 - constants[1])) / constants[0]
        case "ScaledTanh" if abs(constants[0]) <= 1 and constants[1] != 0:
            reach = 8 / abs(constants[1])
        case _:
            return None
    return min(max(math.floor(15 - math.log2(reach)), 1), 15) if reach > 0 else None


@Lowering(becomes="npu.lstm", obstacle=cannot_recur, raw=RAW["lstm"]).of(Lstm)
@Lowering(becomes="npu.gru", obstacle=cannot_recur, raw=RAW["gru"]).of(Gru)
@Lowering(becomes="npu.rnn", obstacle=cannot_recur, raw=RAW["rnn"]).of(Rnn)
def layer(context: Context, op: Lstm | Gru | Rnn) -> Emitted:
    """All results in one op, which is emitted for the first of them.

    A cell has a scale of its own outside; peepholes are in the unit of the sums. A GRU's reset gate may stand between
    its biases, which stay apart.
    """
    quantize = _quantize(context, context.node.results.index(context.result.name))
    made = None if quantize is None else context.emitted(quantize.result)
    if made is not None:
        return made
    b, *rest = context.node.operands[3:]
    bias = context.floats(b)
    other = context.floats(rest.pop(0)) if isinstance(op, Gru) else np.zeros_like(bias)
    h0, *rest = rest
    hidden = _hidden(context, h0)
    fields, arrays = _common(context, op, hidden, bias, other)
    unit, scale, results = 2.0**SUM_FRACTION, hidden.quant.scale, [hidden, hidden]
    states = [context.take(h0, result=hidden)]
    integer: Op
    match op:
        case Lstm():
            c0, *rest = rest
            cell = _result(context, 2) or replace(hidden, quant=context.quant(c0))
            integer = npu_recurrent.Lstm(
                **fields,
                hidden_out=factor(2.0 ** (-2 * UNIT_FRACTION) / scale),
                cell_in=factor(cell.quant.scale * unit),
                cell_out=factor(2.0**-SUM_FRACTION / cell.quant.scale),
                cell_zero_point=cell.quant.zero_point,
                input_forget=op.input_forget,
            )
            states.append(context.take(c0, result=cell))
            results.append(cell)
            if rest:
                holes = np.clip(np.rint(context.floats(rest.pop(0)) * unit), -(2**31) + 1, 2**31 - 1)
                states.append(context.builder.constant(holes.astype(np.int32), f"{context.result.name}.peepholes"))
        case Gru():
            out, straight = factor(2.0**-SUM_FRACTION / scale), op.linear_before_reset
            integer = npu_recurrent.Gru(
                **fields, hidden_in=factor(scale * unit), hidden_out=out, linear_before_reset=straight
            )
        case Rnn():
            integer = npu_recurrent.Rnn(**fields, hidden_out=factor(2.0**-UNIT_FRACTION / scale))
    return _emit(context, integer, arrays, [*states, *map(context.raw, rest)], results)


def factor(real: float) -> Factor:
    """A multiplier and its shift."""
    multipliers, shifts, _ = multipliers_and_shifts(np.array([real]))
    return int(multipliers[0]), int(shifts[0])


def _quantize(context: Context, place: int) -> Node | None:
    users = context.source.users[context.node.results[place]]
    return next((user for user in users if isinstance(user.op, Quantize)), None)


def _result(context: Context, place: int) -> Result | None:
    """What a result of the node must be; None where nothing quantizes it."""
    quantize = _quantize(context, place)
    return None if quantize is None else Result.of(quantize, context.node.loc)


def _hidden(context: Context, initial: str) -> Result:
    """What y and h must be, which are one value at different steps."""
    every, last = (_result(context, place) for place in (0, 1))
    if every is not None and last is not None and every.quant != last.quant:
        raise NpuqError(
            f"scales {every.quant.scale:.6g} of all steps and {last.quant.scale:.6g} of the last; they must be equal"
        )
    quant, dtype = context.quant(initial), context.dtype(initial)
    # Where nothing reads the state, it keeps the scale of its initial value.
    unread = Result(quant, dtype, *context.limits(dtype), context.node.results[0], context.node.loc)
    return every or last or unread


def _common(
    context: Context, op: Recurrent, hidden: Result, *biases: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The attributes that all cells have, and their constant operands between x and the states."""
    quants = (context.quant(context.x), hidden.quant)
    width = context.width(context.x)
    dtype = width.weight_dtype()
    most = float(1 << (min(width.bias_bits, width.accumulator_bits) - 2))
    weights, offsets, reals = [], [], []
    for operand, quant, bias in zip(context.node.operands[1:3], quants, biases, strict=True):
        array = context.floats(operand)
        rows = array.reshape(-1, array.shape[-1])
        least = np.abs(bias).reshape(-1) / (quant.scale * most)
        scales = np.asarray(weight_quantization(rows, 0, dtype, least=least).scales, np.float64)
        low, high = weight_range(dtype)
        integers = np.clip(np.rint(rows / scales[:, None]), low, high).reshape(array.shape)
        scales = scales.reshape(bias.shape)
        weights.append(integers.astype(dtype.numpy))
        centre = quant.zero_point * integers.sum(-1)
        offsets.append((np.rint(bias / (quant.scale * scales)) - centre).astype(np.int64))
        reals.append(quant.scale * scales * 2.0**SUM_FRACTION)
    multipliers, shifts = context.multipliers(np.stack(reals, 1), context.target.rescale_shift_range)
    texts = [text for direction in range(op.directions) for text in op.named(direction)]
    inputs = tuple(input_fraction(text) or 0 for text in texts)
    tables = np.stack([function_table(text, bits) for text, bits in zip(texts, inputs, strict=True)])
    fields = {
        **context.tail(hidden),
        "direction": op.direction,
        "inputs": inputs,
        "clip": min(round(op.clip * (1 << SUM_FRACTION)), SUM_LIMIT),
        "accumulator": (-(1 << 52), 1 << 52),
    }
    arrays = {
        "w": weights[0],
        "r": weights[1],
        "b": np.stack(offsets, 1),
        "m": multipliers,
        "s": shifts,
        "table": tables.reshape(op.directions, -1, tables.shape[-1]),
    }
    return fields, arrays


def function_table(text: str, fraction: int) -> np.ndarray:
    """The entries of an activation at every 2^(16 - n) integers of `fraction` bits, in 2^-15: int16 [2^n + 1]."""
    knots = np.arange(-(1 << 15), (1 << 15) + 1, 1 << (16 - TABLE_BITS)) / 2.0**fraction
    with jax.enable_x64(True):
        values = np.asarray(activation(text)(jax.numpy.asarray(knots)), np.float64)
    return np.clip(np.rint(values * (1 << UNIT_FRACTION)), -(1 << 15), (1 << 15) - 1).astype(np.int16)


def _emit(
    context: Context, op: Op, arrays: Mapping[str, np.ndarray], states: Sequence[str], results: Sequence[Result]
) -> Emitted:
    """Add the op, let its results stand for the node's, and return the wanted one."""
    node = context.node
    x = context.take(context.x)
    constants = [context.builder.constant(array, f"{node.results[0]}.{name}") for name, array in arrays.items()]
    context.builder.release(*node.results)
    quants = tuple(one.quant for one in results)
    made = context.builder.add_all(op, x, *constants, *states, names=node.results, loc=node.loc, quant=quants)
    for place, name in enumerate(made):
        quantize = _quantize(context, place)
        if quantize is not None:
            context.give(quantize.result, Emitted(name, last=False))
    return Emitted(made[node.results.index(context.result.name)], last=False)
