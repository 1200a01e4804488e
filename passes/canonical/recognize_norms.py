"""Recognition of layer and RMS normalizations that an exporter wrote out in elementary arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.elementwise import Add, Div, Mul, Neg, Pow, Reciprocal, Sqrt, Sub
from npuq.ir.ops.norm import LayerNorm, RmsNorm
from npuq.ir.ops.reduce import ReduceMean
from npuq.ir.ops.shape import Reshape

from ..pipeline import graph_pass
from .arithmetic_forms import scalar

DEPTH = 5
"""How many products and quotients deep a formula is read."""


@graph_pass("recognize-norms")
def recognize_norms(graph: Graph) -> Graph:
    """Replace written-out layer and RMS normalizations over the last axes, with or without factor and bias, by one op.

    Squares may be products or powers, the quotient a product with the inverse, and factor and bias may be folded
    into it: x * m + (bias - mean * m), or (-mean * m + bias). Norms over other axes stay.
    """

    def recognize(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        norm = _norm(graph, node)
        if norm is None:
            return None
        scale = builder.constant(norm.scale, f"{node.result}.scale")
        bias = () if norm.bias is None else (builder.constant(norm.bias, f"{node.result}.bias"),)
        return builder.add(norm.op, builder.renamed[norm.x], scale, *bias, name=node.result, loc=node.loc)

    return rewrite(graph, recognize)


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalization of the value `x`, and the constants behind it."""

    op: LayerNorm | RmsNorm
    x: str
    scale: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Quotient:
    """constant * product of `over` / product of the square roots of `roots`."""

    constant: np.ndarray
    over: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """mean(of * of) + epsilon, the mean over the axes from `axis` (negative) on."""

    of: str
    axis: int
    epsilon: float


def _norm(graph: Graph, node: Node) -> Norm | None:
    """The normalization whose result a node is."""
    match node.op:
        case Mul() | Div() if node.type.dtype.is_float:
            return _scaled(graph, node.result)
        case Add() if node.type.dtype.is_float:
            return _biased(graph, node) or _folded(graph, node)
    return None


def _scaled(graph: Graph, name: str) -> Norm | None:
    """constant * (x - mean) / root, or constant * x / root."""
    whole = _quotient(graph, name)
    if whole is None or len(whole.roots) != 1:
        return None
    moment = _spread(graph, whole.roots[0])
    if moment is not None:
        centred = replace(moment, of=whole.over[0]) if len(whole.over) == 1 else moment
        fits = _uncentred(graph, centred) == moment.of
        return _made(graph, LayerNorm, moment.of, moment, whole.constant) if fits else None
    moment = _moment(graph, whole.roots[0])
    part = None if moment is None else _quotient(graph, name, stop=moment.of)
    if moment is None or part is None or len(part.over) != 1 or not _same(graph, part.over[0], moment.of):
        return None
    x = _uncentred(graph, moment)
    kind = LayerNorm if x is not None else RmsNorm
    return _made(graph, kind, moment.of if x is None else x, moment, part.constant)


def _biased(graph: Graph, node: Node) -> Norm | None:
    """A layer normalization plus a constant, where nothing else reads the former."""
    for value, constant in (node.operands, node.operands[::-1]):
        array = graph.constant(constant)
        if array is None or graph.only_user(value) is not node:
            continue
        norm = _scaled(graph, value)
        if norm is not None and isinstance(norm.op, LayerNorm):
            return _with_bias(norm, array)
    return None


def _folded(graph: Graph, node: Node) -> Norm | None:
    """x * m + (bias - mean * m) with m = constant / root, as TensorFlow and Keras write it."""
    for product, rest in (node.operands, node.operands[::-1]):
        whole = _quotient(graph, product)
        moment = _moment(graph, whole.roots[0]) if whole is not None and len(whole.roots) == 1 else None
        x = None if moment is None else _uncentred(graph, moment)
        first = None if x is None else _quotient(graph, product, stop=x)
        if moment is None or x is None or first is None or first.over != (x,):
            continue
        for bias, shift, sign in _offset(graph, rest):
            second = _quotient(graph, shift, stop=x)
            if second is None or len(second.over) != 1 or _mean(graph, second.over[0]) != (x, moment.axis):
                continue
            if first.roots == second.roots and np.array_equal(first.constant, sign * second.constant):
                norm = _made(graph, LayerNorm, x, moment, first.constant)
                return norm if norm is None or bias is None else _with_bias(norm, bias)
    return None


def _offset(graph: Graph, name: str) -> Iterator[tuple[np.ndarray | None, str, int]]:
    """The ways to read a value as bias - sign * product; without a bias where it is the product alone."""
    node = graph.producers.get(name)
    yield None, name, -1
    if node is None or not isinstance(node.op, (Add, Sub)):
        return
    for bias, product in (node.operands, node.operands[::-1]):
        array = graph.constant(bias)
        if array is not None and (isinstance(node.op, Add) or bias == node.operands[0]):
            yield array, product, -1 if isinstance(node.op, Add) else 1


def _made(
    graph: Graph, kind: type[LayerNorm] | type[RmsNorm], x: str, moment: Moment, constant: np.ndarray
) -> Norm | None:
    type_ = graph.types[x]
    scale = _over_axes(constant, type_.shape[moment.axis :], type_.dtype.numpy)
    return None if scale is None else Norm(kind(axis=moment.axis, epsilon=moment.epsilon), x, scale)


def _with_bias(norm: Norm, array: np.ndarray) -> Norm | None:
    bias = _over_axes(array, norm.scale.shape, norm.scale.dtype)
    return None if bias is None else replace(norm, bias=bias)


def _over_axes(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray | None:
    """A constant as one number per normalized element; None where it differs along other axes."""
    extra = max(array.ndim - len(shape), 0)
    if np.prod(array.shape[:extra]) != 1:
        return None
    array = array.reshape(array.shape[extra:])
    have: tuple[int, ...] = array.shape
    fits = all(size in (1, wanted) for size, wanted in zip(have, shape[len(shape) - len(have) :], strict=True))
    return np.broadcast_to(array, shape).astype(dtype) if fits else None


def _quotient(graph: Graph, name: str, stop: str = "", depth: int = DEPTH) -> Quotient | None:
    """A value taken apart, down to `stop`, into constants, other values and inverse roots; None if it is no product."""
    node, array = graph.producers.get(name), graph.constant(name)
    if array is not None:
        return Quotient(array.astype(np.float64))
    if node is None or name == stop or not depth:
        return Quotient(np.ones(()), (name,))
    if isinstance(node.op, Mul):
        parts = [_quotient(graph, operand, stop, depth - 1) for operand in node.operands]
        return None if parts[0] is None or parts[1] is None else _product(parts[0], parts[1])
    if isinstance(node.op, Neg):
        inner = _quotient(graph, node.operands[0], stop, depth - 1)
        return None if inner is None else replace(inner, constant=-inner.constant)
    if isinstance(node.op, Div):
        over = _quotient(graph, node.operands[0], stop, depth - 1)
        under = _inverse(graph, node.operands[1])
        return None if over is None or under is None else _product(over, under)
    if isinstance(node.op, Reciprocal):
        return _inverse(graph, node.operands[0])
    if isinstance(node.op, Pow) and scalar(graph, node.operands[1]) == -0.5:
        return Quotient(np.ones(()), (), (node.operands[0],))
    return Quotient(np.ones(()), (name,))


def _inverse(graph: Graph, name: str) -> Quotient | None:
    """One over a constant or a square root."""
    node, array = graph.producers.get(name), graph.constant(name)
    if array is not None:
        return Quotient(1 / array.astype(np.float64)) if array.all() else None
    if node is not None and (isinstance(node.op, Sqrt) or _is_power(graph, node, 0.5)):
        return Quotient(np.ones(()), (), (node.operands[0],))
    return None


def _product(first: Quotient, second: Quotient) -> Quotient | None:
    try:
        constant = first.constant * second.constant
    except ValueError:
        return None
    return Quotient(np.asarray(constant), first.over + second.over, first.roots + second.roots)


def _is_power(graph: Graph, node: Node, exponent: float) -> bool:
    return isinstance(node.op, Pow) and scalar(graph, node.operands[1]) == exponent


def _moment(graph: Graph, name: str) -> Moment | None:
    """A mean of squares plus a number."""
    node = graph.producers.get(name)
    if node is None or not isinstance(node.op, Add):
        return None
    for squares, number in (node.operands, node.operands[::-1]):
        epsilon, mean = scalar(graph, number), _mean(graph, squares)
        square = None if mean is None else graph.producers.get(mean[0])
        if epsilon is None or epsilon < 0 or mean is None or square is None or graph.types[number].size != 1:
            continue
        twice = isinstance(square.op, Mul) and _same(graph, square.operands[0], square.operands[1])
        if twice or _is_power(graph, square, 2.0):
            return Moment(square.operands[0], mean[1], epsilon)
    return None


def _spread(graph: Graph, name: str) -> Moment | None:
    """A variance as mean(x * x) - mean(x) * mean(x), perhaps kept from falling below 0, plus a number."""
    node = graph.producers.get(name)
    if node is None or not isinstance(node.op, Add):
        return None
    for variance, number in (node.operands, node.operands[::-1]):
        epsilon, made = scalar(graph, number), graph.producers.get(_narrow(graph, variance))
        if made is not None and isinstance(made.op, Relu):
            made = graph.producers.get(_narrow(graph, made.operands[0]))
        if epsilon is None or epsilon < 0 or graph.types[number].size != 1:
            continue
        if made is None or not isinstance(made.op, Sub):
            continue
        squares, square = (graph.producers.get(_narrow(graph, operand)) for operand in made.operands)
        if squares is None or square is None or not _is_square(graph, square):
            continue
        inner, mean = _mean(graph, squares.results[0]), _mean(graph, square.operands[0])
        product = None if inner is None else graph.producers.get(inner[0])
        if inner is None or mean is None or product is None or not _is_square(graph, product):
            continue
        if product.operands[0] == mean[0] and inner[1] == mean[1]:
            return Moment(mean[0], mean[1], epsilon)
    return None


def _is_square(graph: Graph, node: Node) -> bool:
    twice = isinstance(node.op, Mul) and node.operands[0] == node.operands[1]
    return twice or _is_power(graph, node, 2.0)


def _narrow(graph: Graph, name: str) -> str:
    """A value before reshapes that only add or drop axes of one element."""
    node = graph.producers.get(name)
    while node is not None and isinstance(node.op, Reshape):
        before = graph.types[node.operands[0]].shape
        if [size for size in before if size != 1] != [size for size in node.type.shape if size != 1]:
            break
        name = node.operands[0]
        node = graph.producers.get(name)
    return name


def _mean(graph: Graph, name: str) -> tuple[str, int] | None:
    """The operand of a mean over the last axes, and the first of these, counted from the end."""
    node = graph.producers.get(_narrow(graph, name))
    if node is None or not isinstance(node.op, ReduceMean) or not node.op.axes:
        return None
    rank, axes = graph.types[node.operands[0]].rank, node.op.axes
    axis = min(axes) - rank
    return (node.operands[0], axis) if sorted(axes) == list(range(rank + axis, rank)) else None


def _uncentred(graph: Graph, moment: Moment) -> str | None:
    """The value whose own mean was subtracted from it; None where none was."""
    node = graph.producers.get(moment.of)
    if node is None or not isinstance(node.op, Sub):
        return None
    x, mean = node.operands
    return x if _mean(graph, mean) == (x, moment.axis) and graph.types[x] == node.type else None


def _same(graph: Graph, one: str, two: str, depth: int = 3) -> bool:
    """Whether two values are computed alike, as by exporters that repeat computations."""
    if one == two:
        return True
    first, second = graph.producers.get(one), graph.producers.get(two)
    if first is None or second is None or not depth or first.op != second.op or len(first.results) != 1:
        return False
    return len(first.operands) == len(second.operands) and all(
        _same(graph, here, there, depth - 1) for here, there in zip(first.operands, second.operands, strict=True)
    )
