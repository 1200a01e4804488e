"""Converters, one function per TFLite operator, and their argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npuq.ir import Builder, DType, Op, Quantization, RuleError, ops, require
from npuq.ir.formats.tflite import ACTIVATIONS
from npuq.ir.ops.quant import to_reals

from ..context import Context, Ints, registering
from .read import Operator, Tensor

CLAMPS: Mapping[str, Op] = {
    "RELU": ops.Relu(),
    "RELU_N1_TO_1": ops.Clip(low=-1.0, high=1.0),
    "RELU6": ops.Clip(low=0.0, high=6.0),
    "RELU_0_TO_1": ops.Clip(low=0.0, high=1.0),
    "TANH": ops.Tanh(),
}
"""The activations that may be fused into an operator, and similar operators."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Adds quantize/dequantize pairs after values; records which values come from integers, with their scales."""

    builder: Builder
    scales: dict[str, tuple[DType, Quantization]] = field(default_factory=dict)
    known: dict[str, Quantization] = field(default_factory=dict)

    def add(self, value: str, dtype: DType, quant: Quantization, loc: str) -> str:
        """Add the pair of these integers to a value, unless it has that scale."""
        if self.scales.get(value) == (dtype, quant):
            return value
        require(quant.axis is None, f"{len(quant.scales)} scales of an activation, one wanted")
        integers = self.builder.add(ops.Quantize.to(dtype, quant), value, name=f"{value}.q", loc=loc)
        return self.real(integers, f"{value}.dq", loc)

    def real(self, integers: str, name: str, loc: str = "") -> str:
        type_ = self.builder.types[integers]
        quant = type_.quant
        assert quant is not None, integers
        found = self.builder.add(ops.Dequantize.of(quant), integers, name=name, loc=loc)
        self.known[found] = quant
        if quant.axis is None:
            self.scales[found] = (type_.dtype, quant)
        return found


@dataclass(slots=True, kw_only=True)
class Operation(Context):
    """One operator under translation, with its tensors as in the file.

    Values are channels last, as in the file; `first` and `last` convert for ops that need channels first.
    """

    spec: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    pairs: Pairs

    @property
    def options(self) -> Mapping[str, Any]:
        return self.spec.options

    def integers(self, index: int, what: str) -> Ints:
        """The integers of a constant operand, flattened."""
        array = self.required(index, what)
        require(array.dtype.kind in "iu", f"{what} must be integers")
        return tuple(int(value) for value in array.ravel())

    def move(self, op: Op, x: str) -> str:
        """Append an op that only moves elements, which keeps the scale of reals that come from integers."""
        moved = self.add(op, x)
        return self.pairs.add(moved, *self.pairs.scales[x], self.node.loc) if x in self.pairs.scales else moved

    def first(self, x: str) -> str:
        """Convert a value with four axes to channels first."""
        require(self.type(x).rank == 4, f"an operand of shape {self.type(x).shape}, 4 axes wanted")
        return self.move(ops.Transpose(order=(0, 3, 1, 2)), x)

    def last(self, y: str) -> str:
        """Add the fused activation and the scale to a result, channels last; `y` gets the tensor's name."""
        (named,) = self.finish((self.activated(y),))
        turned = ops.Transpose(order=(0, 2, 3, 1))
        loc = self.node.loc
        return self.builder.add(turned, self.scaled(named), name=f"{self.outputs[0].name}.nhwc", loc=loc)

    def activated(self, y: str) -> str:
        """Add the fused activation, if there is one."""
        number = self.options.get("fused", 0)
        name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else f"number {number}"
        require(name == "NONE" or name in CLAMPS, f"the fused activation {name} is not supported")
        return y if name == "NONE" else self.add(CLAMPS[name], y)

    def scaled(self, y: str, index: int = 0) -> str:
        tensor = self.outputs[index]
        if not tensor.is_quantized:
            return y
        assert tensor.quant is not None
        return self.pairs.add(y, tensor.dtype, tensor.quant, self.node.loc)

    def weight(self, index: int, order: Ints) -> str:
        """Return the weights of an operand with their axes in another order.

        They stay integers if the data have scales; otherwise they are dequantized.
        """
        tensor = self.inputs[index] if index < len(self.inputs) else None
        require(tensor is not None, f"operand {index} is missing")
        assert tensor is not None
        name = self.operand(index)
        require(
            self.type(name).rank == len(order), f"weights of shape {self.type(name).shape}, {len(order)} axes wanted"
        )
        if tensor.array is not None and tensor.is_quantized and self.x in self.pairs.scales:
            assert tensor.quant is not None
            require(not any(tensor.quant.zero_points), "weights with zero points; convert the float model again")
            axis = tensor.quant.axis
            quant = tensor.quant if axis is None else tensor.quant.on_axis(order.index(axis))
            turned = np.ascontiguousarray(tensor.array.transpose(order))
            return self.pairs.real(self.builder.constant(turned, f"{tensor.name}.q", quant), f"{tensor.name}.dq")
        known = self.known(name)
        if known is None and tensor.array is not None and tensor.quant is not None:
            known = to_reals(tensor.array, tensor.quant)
        if known is not None:
            return self.builder.constant(np.ascontiguousarray(known.transpose(order)), tensor.name)
        return self.move(ops.Transpose(order=order), name)

    def bias(self, index: int, weight: str) -> tuple[str, ...]:
        """The bias, if there is one; an integer one has the scale of the sums."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            return ()
        name = self.operand(index)
        if self.x not in self.pairs.scales or tensor.array is None:
            return (name,)
        require(tensor.dtype in (DType.I32, DType.I64), f"a bias of {tensor.dtype} for integers")
        scale, weights = self.pairs.scales[self.x][1].scale, self.pairs.known.get(weight)
        if weights is None:
            raise RuleError("a bias of integers beside weights without scales")
        scales = tuple(float(np.float32(scale * one)) for one in weights.scales)
        count = tensor.array.size
        require(len(scales) in (1, count), f"{count} biases for {len(scales)} scales")
        scales = scales * count if len(scales) == 1 else scales
        quant = Quantization(scales, (0,) * count, 0)
        stored = self.builder.constant(tensor.array, f"{tensor.name}.q", quant)
        return (self.pairs.real(stored, f"{tensor.name}.dq"),)


Converter = Callable[[Operation], "str | tuple[str, ...]"]

CONVERTERS: dict[str, Converter] = {}
"""The converters by operator; each returns the values of the outputs."""

converts = registering(CONVERTERS)


def translate(operation: Operation) -> tuple[str, ...]:
    """Run a converter; its results get their scales and, unless a value inside has it, their tensors' names."""
    returned = CONVERTERS[operation.spec.name](operation)
    results = (returned,) if isinstance(returned, str) else returned
    count = len(operation.outputs)
    require(len(results) >= count, f"{count} outputs, {len(results)} wanted")
    results = tuple(_bare(operation, result) for result in results)
    inside = operation.outputs[0].name in operation.builder.types if operation.outputs else False
    named = results if inside else operation.finish(results)
    return tuple(operation.scaled(name, index) for index, name in enumerate(named[:count]))


def _bare(operation: Operation, result: str) -> str:
    """Remove the pair that the operation itself added to a result."""
    made = {name: node for node in operation.builder.nodes[operation.start :] for name in node.results}
    pair = made.get(result)
    quantize = made.get(pair.operands[0]) if pair is not None and isinstance(pair.op, ops.Dequantize) else None
    return quantize.operands[0] if quantize is not None and isinstance(quantize.op, ops.Quantize) else result
