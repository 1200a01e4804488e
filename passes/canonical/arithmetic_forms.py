"""Normal forms of scalar arithmetic in a graph, so that formulas are recognized in any order of writing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, rewrite
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.elementwise import Add, Div, Maximum, Minimum, Mul, Neg, Pow, Sub

DEGREE = 3
"""The highest power that a polynomial keeps."""

DEPTH = 8
"""How many ops deep a formula is read; it bounds the work on graphs in which values are used many times."""

Polynomial = np.ndarray
"""Coefficients of the powers 0 to `DEGREE`, float64."""

ONE: Polynomial = np.asarray([1.0, *(0.0,) * DEGREE])
X: Polynomial = np.roll(ONE, 1)

Formula = tuple[Op, tuple[str, ...]]
"""The op that computes a value, and its operands."""


def recognized(graph: Graph, find: Callable[[Graph, Node], Formula | None]) -> Graph:
    """Replace each node whose result `find` reads as a formula by the formula's op."""

    def replace(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        formula = find(graph, node)
        if formula is None:
            return None
        op, names = formula
        return builder.add(op, *(builder.renamed[name] for name in names), name=node.result, loc=node.loc)

    return rewrite(graph, replace)


def scalar(graph: Graph, name: str) -> float | None:
    """The number that a float constant holds everywhere, or None."""
    array = graph.constant(name)
    if array is None or not array.size or not graph.types[name].dtype.is_float:
        return None
    values = array.astype(np.float64).ravel()
    return float(values[0]) if bool(np.all(values == values[0])) else None


def polynomial(graph: Graph, name: str, x: str, depth: int = DEPTH) -> Polynomial | None:
    """A value as a polynomial of the value `x`, or None where it is none of a degree up to `DEGREE`."""
    if name == x:
        return X
    number = scalar(graph, name)
    if number is not None:
        return np.asarray(ONE * number)
    node = graph.producers.get(name)
    if node is None or not depth or node.types != (graph.types[x],):
        return None
    if not isinstance(node.op, (Add, Sub, Mul, Div, Neg, Pow)):
        return None
    parts = [polynomial(graph, operand, x, depth - 1) for operand in node.operands]
    if any(part is None for part in parts):
        return None
    return _combined(node.op, *(part for part in parts if part is not None))


def _combined(op: Op, left: Polynomial, right: Polynomial = ONE) -> Polynomial | None:
    match op:
        case Neg():
            return np.asarray(-left)
        case Add():
            return np.asarray(left + right)
        case Sub():
            return np.asarray(left - right)
        case Mul():
            return _product(left, right)
        case Div() if right[0] and not np.any(right[1:]):
            return np.asarray(left / right[0])
        case Pow() if right[0] in (1, 2, 3) and not np.any(right[1:]):
            power: Polynomial | None = left
            for _ in range(int(right[0]) - 1):
                power = None if power is None else _product(power, left)
            return power
    return None


def _product(left: Polynomial, right: Polynomial) -> Polynomial | None:
    full = np.convolve(left, right)
    return None if np.any(full[DEGREE + 1 :]) else full[: DEGREE + 1]


def factors(graph: Graph, name: str, x: str = "", depth: int = DEPTH) -> tuple[float, tuple[str, ...]]:
    """A value as a number times the product of other values, taken apart down to `x`."""
    node = graph.producers.get(name)
    if name == x or node is None or not depth:
        return 1.0, (name,)
    numbers = [scalar(graph, operand) for operand in node.operands]
    if isinstance(node.op, Neg):
        part, more = factors(graph, node.operands[0], x, depth - 1)
        return -part, more
    if isinstance(node.op, Div) and numbers[1]:
        part, more = factors(graph, node.operands[0], x, depth - 1)
        return part / numbers[1], more
    if not isinstance(node.op, Mul):
        return 1.0, (name,)
    scale = 1.0
    leaves: tuple[str, ...] = ()
    for operand, number in zip(node.operands, numbers, strict=True):
        part, more = (number, ()) if number is not None else factors(graph, operand, x, depth - 1)
        scale, leaves = scale * part, (*leaves, *more)
    return scale, leaves


def limits(graph: Graph, name: str, depth: int = DEPTH) -> tuple[str, float, float]:
    """A value as another one limited to [low, high]; infinite where nothing limits it."""
    node = graph.producers.get(name)
    if node is None or not depth:
        return name, -math.inf, math.inf
    numbers = [scalar(graph, operand) for operand in node.operands]
    low, high, operand = -math.inf, math.inf, node.operands[0] if node.operands else ""
    match node.op:
        case Clip():
            low, high = node.op.low, node.op.high
        case Relu():
            low = 0.0
        case Maximum() | Minimum() if any(number is not None for number in numbers):
            number = next(number for number in numbers if number is not None)
            operand = node.operands[0 if numbers[0] is None else 1]
            low, high = (number, high) if isinstance(node.op, Maximum) else (low, number)
        case _:
            return name, low, high
    if graph.types[operand] != node.type or low > high:
        return name, -math.inf, math.inf
    inner, inner_low, inner_high = limits(graph, operand, depth - 1)
    return inner, min(max(inner_low, low), high), min(max(inner_high, low), high)


def affine_root(graph: Graph, name: str) -> str:
    """The value that `name` is made from by adding and multiplying numbers only."""
    for _ in range(DEPTH):
        node = graph.producers.get(name)
        if node is None or not isinstance(node.op, (Add, Sub, Mul, Div, Neg)):
            break
        unknown = [operand for operand in node.operands if scalar(graph, operand) is None]
        if len(unknown) != 1 or graph.types[unknown[0]] != node.type:
            break
        if isinstance(node.op, Div) and unknown[0] != node.operands[0]:
            break
        name = unknown[0]
    return name
