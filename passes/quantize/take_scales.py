"""A quantized model's scales and integers, and its float network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from npuq.ir import Builder, Constant, DType, Graph, Node, Op, TensorType, rewrite, verify
from npuq.ir.op import UNBOUNDED
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.quant import Dequantize, Quantize, to_reals
from npuq.ir.ops.shape import Pad

from ..scales import Range


@dataclass(frozen=True)
class Taken:
    """A float graph, the types that its values were quantized to, and the integers of its constants.

    A value has a type for each width; the first is that of the op that made it. Constants stand by their names and by
    the nodes that read them: different integers may round to the same reals.
    """

    graph: Graph
    values: Mapping[str, tuple[TensorType, ...]]
    constants: Mapping[str, Mapping[str, Constant]]

    def integers(self, graph: Graph, name: str, reader: str = "") -> Constant | None:
        """The integers of a constant of `graph`; None if their reals have changed or its readers' integers differ."""
        read, now = self.constants.get(name, {}), graph.constants.get(name)
        constant = read.get(reader) or next(iter(read.values()), None)
        if constant is None or now is None or constant.type.quant is None:
            return None
        alone = reader in read or all(other == constant for other in read.values())
        return constant if alone and np.array_equal(now.array, to_reals(constant.array, constant.type.quant)) else None


def has_scales(graph: Graph) -> bool:
    """Whether a graph quantizes, or holds integers with scales."""
    quantized = any(isinstance(node.op, (Quantize, Dequantize)) for node in graph.nodes)
    return quantized or any(type_.quant is not None for type_ in graph.types.values())


def take_scales(graph: Graph) -> Taken:
    """Leave out all quantizes and dequantizes; ops on integers with scales become ops on their reals.

    A value that is quantized more than once to one width has the first of its scales. Quantizing a computed value
    without integers for negative reals is also a ReLU, which other tools leave out for that reason: it is restored.
    """
    values: dict[str, tuple[TensorType, ...]] = {}
    constants: dict[str, dict[str, Constant]] = {}
    bounds: dict[str, Range] = {}

    def drop(builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...]:
        if isinstance(node.op, Quantize):
            real = operands[0]
            negative = real not in graph.inputs and bounds.get(real, UNBOUNDED)[0] < 0
            if negative and set(node.op.quant.zero_points) == {node.op.low}:
                real = builder.add(Relu(), real, name=f"{real}.relu", loc=node.loc)
                bounds[real] = (0.0, math.inf)
            if node.type.dtype.bits not in [type_.dtype.bits for type_ in values.get(real, ())]:
                values[real] = (*values.get(real, ()), node.type)
            return (real,)
        if all(graph.types[operand].quant is None for operand in node.operands):
            results = builder.copy(node, operands)
        else:
            readers = graph.users[node.result] if isinstance(node.op, Dequantize) else (node,)
            reals = tuple(_real(builder, constants, operand, readers) for operand in operands)
            if isinstance(node.op, Dequantize):
                return reals
            results = builder.add_all(_on_reals(graph, node), *reals, names=node.results, loc=node.loc, host=node.host)
            each = zip(results, node.types, strict=True)
            values.update({name: (type_,) for name, type_ in each if type_.quant is not None})
        known = (bounds.get(operand, UNBOUNDED) for operand in operands)
        bounds[results[0]] = _on_reals(graph, node).bounds(*known)
        return results

    def entry(builder: Builder, name: str) -> str:
        type_ = builder.types[name]
        if type_.quant is not None:
            values[name] = (type_,)
            builder.inputs[name] = builder.types[name] = TensorType(DType.F32, type_.shape)
        return name

    return Taken(verify(rewrite(graph, drop, entry=entry)), values, constants)


def _real(builder: Builder, constants: dict[str, dict[str, Constant]], name: str, readers: Iterable[Node]) -> str:
    """A constant of integers as reals; computed values are reals already."""
    constant = builder.constants.get(name)
    if constant is None or constant.type.quant is None:
        return name
    real = builder.constant(to_reals(constant.array, constant.type.quant), f"{name}.real")
    constants.setdefault(real, {}).update({reader.results[0]: constant for reader in readers})
    return real


def _on_reals(graph: Graph, node: Node) -> Op:
    """The op for the reals of its operands."""
    quant = graph.types[node.operands[0]].quant
    if isinstance(node.op, Pad) and node.op.mode == "constant" and quant is not None:
        return replace(node.op, value=(node.op.value - quant.zero_point) * quant.scale)
    return node.op
