"""The state of a lowering: the fake-quant graph, the integer graph so far, and its values in both layouts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, NpuqError, Op, Quantization, require
from npuq.ir.arithmetic import MULTIPLIERS, common_multipliers, multipliers_and_shifts
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.npu.pointwise import Requantize
from npuq.ir.ops.quant import Dequantize, to_integers
from npuq.ir.ops.shape import Reshape, Transpose

from ..target import Target, Width

Interval = tuple[int, int]


@dataclass(frozen=True)
class Result:
    """What an op must produce: scale, element type, clamp in integers, name and location."""

    quant: Quantization
    dtype: DType
    low: int
    high: int
    name: str
    loc: str


@dataclass(frozen=True)
class Emitted:
    """A value of the integer graph, and whether its channels are last."""

    name: str
    last: bool


@dataclass
class Context:
    """Translates values of the fake-quant graph into integers of the new one.

    Values of rank 3 to 5 exist in up to two layouts, channels first as in the source and channels last. A transpose is
    added where an op needs a layout that does not exist yet.
    """

    source: Graph
    target: Target
    builder: Builder
    lut_len: int | None = None
    """The n of all tables of 2^n + 1 entries; None chooses table by table."""
    repairs: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, str]] = field(default_factory=list)
    _known: dict[tuple[str, bool], str] = field(default_factory=dict)

    def quant(self, value: str) -> Quantization:
        """The quantization of a float value of the fake-quant graph."""
        dequantize = self._dequantize(value).op
        assert isinstance(dequantize, Dequantize)
        return dequantize.quant

    def dtype(self, value: str) -> DType:
        """The element type that a float value of the fake-quant graph is quantized to."""
        return self.source.types[self._integers(value)].dtype

    def width(self, value: str) -> Width:
        """The width of the integers of a float value; the default one of integers that are no activations."""
        return self.target.width_of(self.dtype(value)) or self.target.widths[0]

    def integers(self, value: str) -> np.ndarray:
        """The integers of a known value, as int64."""
        return self.source.constants[self._integers(value)].array.astype(np.int64)

    def give(self, integers: str, emitted: Emitted) -> None:
        """Let a value of the new graph stand for the fake-quant graph's value `integers`."""
        self._known[integers, emitted.last] = emitted.name

    def emitted(self, integers: str) -> Emitted | None:
        """The value of the new graph for one of the fake-quant graph, in the layout in which it was made."""
        return next((Emitted(name, last) for (value, last), name in self._known.items() if value == integers), None)

    def floats(self, value: str) -> np.ndarray:
        """The array of a float constant, as f64."""
        return self.source.constants[value].array.astype(np.float64)

    def raw(self, value: str) -> str:
        """A value that is not quantized, in the new graph: a constant, or an input of the network."""
        constant = self.source.constants.get(value)
        return value if constant is None else self.builder.constant(constant, value)

    def is_dequantized(self, value: str) -> bool:
        """Whether a float value of the fake-quant graph comes from integers."""
        producer = self.source.producers.get(value)
        return producer is not None and isinstance(producer.op, Dequantize)

    def is_last(self, value: str) -> bool:
        """Whether the value's integers exist channels last."""
        return (self._integers(value), True) in self._known

    def take(self, value: str, *, last: bool = False, result: Result | None = None, rank: int = 0) -> str:
        """The integers of a float value in a layout, at a result's scale and width, with ones before a lesser rank."""
        integers = self._integers(value)
        constant = self.source.constants.get(integers)
        if constant is not None and (integers, False) not in self._known:
            self.give(integers, Emitted(self.builder.constant(constant, integers), last=False))
        type_ = self.source.types[value]
        if type_.rank < rank:
            name = self.builder.add(
                Reshape(shape=(1,) * (rank - type_.rank) + type_.shape), self._layout(integers, last=False), name=value
            )
            name = self._transposed(name, last=True) if last else name
        else:
            name = self._layout(integers, last=last)
        type_ = self.builder.types[name]
        if result is None or (result.quant, result.dtype) == (type_.quant, type_.dtype):
            return name
        low, high = self.limits(result.dtype)
        return self.rescaled(name, replace(result, low=low, high=high, name=f"{name}.rescaled", loc=""))

    def plane(self, value: str, result: Result | None = None) -> str:
        """The integers of a value channels last, with a height of 1 where it has one spatial axis."""
        name = self.take(value, last=True, result=result)
        type_ = self.builder.types[name]
        if type_.rank == 4:
            return name
        n, length, channels = type_.shape
        return self.builder.add(Reshape(shape=(n, 1, length, channels)), name, name=f"{name}.plane")

    def pair(self, node: Node, result: Result | None = None) -> tuple[tuple[str, ...], bool]:
        """The operands of a broadcasting op in one layout: channels last where one of them is so."""
        rank = node.type.rank
        last = rank >= 3 and any(
            self.is_last(operand) for operand in node.operands if self.source.types[operand].rank == rank
        )
        names = (self.take(name, last=last, result=result, rank=rank if last else 0) for name in node.operands)
        return tuple(names), last

    def emit(self, op: Op, *operands: str, result: Result, suffix: str = "") -> str:
        """Add an op whose integers have the result's scale; an op that moves elements infers its own."""
        quant = None if op.moved(operands) else result.quant
        if not suffix:
            self.builder.release(result.name)
        return self.builder.add(op, *operands, name=result.name + suffix, loc=result.loc, quant=quant)

    def tail(self, result: Result, op: str = "") -> dict[str, Any]:
        """The attributes of the requantization that ends an integer op; the rounding may depend on the op."""
        return {**self.clamp(result), "rounding": self.target.rounding_of(op)}

    @property
    def is_tflite(self) -> bool:
        """Whether sums, means and softmax follow TFLite's reference kernels: rules T1 to T5."""
        return self.target.kernels == "tflite"

    def limits(self, dtype: DType) -> Interval:
        """The integers that activations of an element type may be."""
        width = self.target.width_of(dtype)
        return width.activation_range if width is not None else dtype.range

    def clamp(self, result: Result) -> dict[str, Any]:
        """The attributes of an integer op whose result is clamped and stored."""
        zero_point = result.quant.zero_point
        return {"zero_point": zero_point, "low": result.low, "high": result.high, "dtype": result.dtype}

    def bias(self, node: Node, weights: np.ndarray, name: str) -> str:
        """The bias constant of a weighted sum, corrected for the operand's zero point; weights end with channels."""
        integers = self.integers(node.operands[2]) if len(node.operands) > 2 else np.zeros(weights.shape[-1], np.int64)
        folded = integers - self.quant(node.operands[0]).zero_point * weights.reshape(-1, weights.shape[-1]).sum(0)
        dtype = self.width(node.operands[0]).bias_dtype
        low, high = dtype.range
        fits = folded.min(initial=0) >= low and folded.max(initial=0) <= high
        require(fits, f"its bias takes more than {dtype.bits} bits with the zero point of its operand")
        return self.builder.constant(folded.astype(dtype.numpy), f"{name}.b")

    def rescale(self, real: np.ndarray, node: Node) -> tuple[str, str]:
        """Constants (M, s) for real factors, one or many; repairs go to the report."""
        return self._factors(*self.multipliers(real, node, self.target.shift_range))

    def multipliers(self, real: np.ndarray, node: Node, shifts: Interval) -> tuple[np.ndarray, np.ndarray]:
        """Multipliers and shifts of real factors of a node; notes about them go to the report."""
        multipliers, found, repairs = multipliers_and_shifts(real, shifts)
        self.repairs.extend((node.place, repair) for repair in repairs)
        return multipliers, found

    def common_rescale(self, reals: np.ndarray) -> tuple[str, str]:
        """Constants (M, s) for real factors with one shift."""
        multipliers, shift = common_multipliers(reals, self.target.rescale_shift_range)
        return self.builder.constant(multipliers, "m"), self.builder.constant(shift, "s")

    def factors(self, multipliers: np.ndarray, shifts: np.ndarray) -> tuple[str, str]:
        """Constants (M, s) of given multipliers and shifts."""
        return self._factors(multipliers.astype(np.int32), shifts.astype(np.int32))

    def rescaled(self, name: str, result: Result) -> str:
        """A value of the new graph at the scale and clamp of `result`."""
        old = self.builder.types[name].quant
        assert old is not None
        op = Requantize(input_zero_point=old.zero_point, **self.tail(result))
        multipliers, shifts, _ = multipliers_and_shifts(
            np.array([old.scale / result.quant.scale]), self.target.rescale_shift_range
        )
        return self.emit(op, name, *self._factors(multipliers, shifts), result=result)

    def _factors(self, multipliers: np.ndarray, shifts: np.ndarray) -> tuple[str, str]:
        uneven = multipliers != MULTIPLIERS[0]
        if self.target.rounding.startswith("pot_") and uneven.any():
            factor = float(multipliers[uneven][0] / 2.0 ** shifts[uneven][0])
            raise NpuqError(
                f"a rescaling factor of {factor:.6g}, but {self.target.rounding} wants powers of two; "
                "use a target with another rounding"
            )
        return self.builder.constant(multipliers, "m"), self.builder.constant(shifts, "s")

    def _layout(self, integers: str, *, last: bool) -> str:
        if (integers, last) not in self._known:
            other = self._known[integers, not last]
            self.give(integers, Emitted(self._transposed(other, last=last), last))
        return self._known[integers, last]

    def _transposed(self, name: str, *, last: bool) -> str:
        axes = order(self.builder.types[name].rank, last=last)
        return self.builder.add(Transpose(order=axes), name, name=f"{name}.{'nhwc' if last else 'nchw'}")

    def _integers(self, value: str) -> str:
        return self._dequantize(value).operands[0]

    def _dequantize(self, value: str) -> Node:
        node = self.source.producers[value]
        assert isinstance(node.op, Dequantize), f"%{value} is not a dequantized value"
        return node


def order(rank: int, *, last: bool) -> tuple[int, ...]:
    """The transposition to channels last, or back from it."""
    return (0, *range(2, rank), 1) if last else (0, rank - 1, *range(1, rank - 1))


def moved_axis(axis: int, rank: int, *, last: bool) -> int:
    """The position of an axis of the user's layout in a layout."""
    return order(rank, last=True).index(axis) if last else axis


def clamp_of(node: Node, quant: Quantization, low: int, high: int) -> Interval:
    """The integer limits of a relu or clip within [low, high]: rounding is monotone, so clamping commutes with it."""
    match node.op:
        case Relu():
            reals = (0.0, np.inf)
        case Clip(low=least, high=greatest):
            reals = (least, greatest)
        case _:
            raise AssertionError(node.op.name)
    limits = to_integers(np.asarray(reals, np.float64), quant, low, high)
    return int(limits[0]), int(limits[1])
