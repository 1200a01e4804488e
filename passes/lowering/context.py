"""The state of a lowering: the fake-quant graph, the integer graph so far, and its values in both layouts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, NpuqError, Op, Quantization, Shape, require
from npuq.ir.arithmetic import MULTIPLIERS, Interval, common_multipliers, multipliers_and_shifts
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.npu.pointwise import Requantize
from npuq.ir.ops.quant import Dequantize, Quantize, to_integers
from npuq.ir.ops.shape import Reshape, Transpose

from ..axes import O, Order, reordered
from ..target import Target, Width


@dataclass(frozen=True)
class Result:
    """What an op must produce: scale, element type, clamp in integers, name and location."""

    quant: Quantization
    dtype: DType
    low: int
    high: int
    name: str
    loc: str

    @classmethod
    def of(cls, node: Node, loc: str) -> Result:
        """The result that a quantize makes."""
        op = node.op
        assert isinstance(op, Quantize)
        return cls(op.quant, op.dtype, op.low, op.high, node.operands[0], loc)

    @property
    def clamp(self) -> dict[str, Any]:
        """The attributes of an integer op whose result is clamped and stored."""
        return {"zero_point": self.quant.zero_point, "low": self.low, "high": self.high, "dtype": self.dtype}


@dataclass(frozen=True)
class Emitted:
    """A value of the integer graph, and whether its channels are last."""

    name: str
    last: bool


@dataclass
class Values:
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
    known: dict[str, dict[bool, str]] = field(default_factory=dict)
    """The integers of the new graph by those of the fake-quant graph, and by whether their channels are last."""

    def quant(self, value: str) -> Quantization:
        """The quantization of a float value of the fake-quant graph."""
        dequantize = self._dequantize(value).op
        assert isinstance(dequantize, Dequantize)
        return dequantize.quant

    def dtype(self, value: str) -> DType:
        """The element type that a float value of the fake-quant graph is quantized to."""
        return self.source.types[self._integers(value)].dtype

    def shape(self, value: str) -> Shape:
        return self.source.types[value].shape

    def width(self, value: str) -> Width:
        """The width of the integers of a float value; the default one of integers that are no activations."""
        return self.target.width_of(self.dtype(value)) or self.target.widths[0]

    def limits(self, dtype: DType) -> Interval:
        """The integers that activations of an element type may be."""
        width = self.target.width_of(dtype)
        return width.activation_range if width is not None else dtype.range

    def integers(self, value: str) -> np.ndarray:
        """The integers of a known value, as int64."""
        return self.source.constants[self._integers(value)].array.astype(np.int64)

    def floats(self, value: str) -> np.ndarray:
        """The array of a float constant, as f64."""
        return self.source.constants[value].array.astype(np.float64)

    def raw(self, value: str) -> str:
        """A value that is not quantized, in the new graph: a constant, or an input of the network."""
        constant = self.source.constants.get(value)
        return value if constant is None else self.builder.constant(constant, value)

    def give(self, integers: str, emitted: Emitted) -> None:
        """Let a value of the new graph stand for the fake-quant graph's value `integers`."""
        self.known.setdefault(integers, {})[emitted.last] = emitted.name

    def emitted(self, integers: str) -> Emitted | None:
        """The value of the new graph for one of the fake-quant graph, in the layout in which it was made."""
        return next((Emitted(name, last) for last, name in self.known.get(integers, {}).items()), None)

    def is_dequantized(self, value: str) -> bool:
        """Whether a float value of the fake-quant graph comes from integers."""
        producer = self.source.producers.get(value)
        return producer is not None and isinstance(producer.op, Dequantize)

    def is_last(self, value: str) -> bool:
        """Whether the value's integers exist channels last."""
        return True in self.known.get(self._integers(value), ())

    def take(self, value: str, *, last: bool = False, result: Result | None = None, rank: int = 0) -> str:
        """The integers of a float value in a layout, at a result's scale and width; below `rank`, channels last."""
        integers = self._integers(value)
        if integers in self.source.constants and integers not in self.known:
            constant = self.source.constants[integers]
            self.give(integers, Emitted(self.builder.constant(constant, integers), last=False))
        shape = self.shape(value)
        if len(shape) < rank:
            wide = Reshape(shape=(1,) * (rank - len(shape)) + shape)
            name = self._transposed(self.builder.add(wide, self._layout(integers, last=False), name=value), last=True)
        else:
            name = self._layout(integers, last=last)
        type_ = self.builder.types[name]
        if result is None or (result.quant, result.dtype) == (type_.quant, type_.dtype):
            return name
        low, high = self.limits(result.dtype)
        return self.rescaled(name, replace(result, low=low, high=high, name=f"{name}.rescaled", loc=""))

    def rescaled(self, name: str, result: Result) -> str:
        """A value of the new graph at the scale and clamp of `result`."""
        old = self.builder.types[name].quant
        assert old is not None
        op = Requantize(input_zero_point=old.zero_point, **self.tail(result))
        ratio = np.array([old.scale / result.quant.scale])
        multipliers, shifts, _ = multipliers_and_shifts(ratio, self.target.rescale_shift_range)
        return self.add(op, name, *self.factors(multipliers, shifts), result=result)

    def add(self, op: Op, *operands: str, result: Result, suffix: str = "") -> str:
        """Add an op whose integers have the result's scale; an op that moves elements infers its own."""
        if not suffix:
            self.builder.release(result.name)
        quant = None if op.moved(operands) else result.quant
        return self.builder.add(op, *operands, name=result.name + suffix, loc=result.loc, quant=quant)

    def tail(self, result: Result, op: str = "") -> dict[str, Any]:
        """The attributes of the requantization that ends an integer op; the rounding may depend on the op."""
        return {**result.clamp, "rounding": self.target.rounding_of(op)}

    def factors(self, multipliers: np.ndarray, shifts: np.ndarray) -> tuple[str, str]:
        """Constants (M, s) of given multipliers and shifts."""
        uneven = multipliers != MULTIPLIERS[0]
        if self.target.rounding.startswith("pot_") and uneven.any():
            factor = float(multipliers[uneven][0] / 2.0 ** shifts[uneven][0])
            raise NpuqError(
                f"a rescaling factor of {factor:.6g}, but {self.target.rounding} wants powers of two; "
                "use a target with another rounding"
            )
        return self.builder.constant(multipliers.astype(np.int32), "m"), self.builder.constant(
            shifts.astype(np.int32), "s"
        )

    def _layout(self, integers: str, *, last: bool) -> str:
        layouts = self.known[integers]
        if last not in layouts:
            layouts[last] = self._transposed(layouts[not last], last=last)
        return layouts[last]

    def _transposed(self, name: str, *, last: bool) -> str:
        axes = order(self.builder.types[name].rank, last=last)
        return self.builder.add(Transpose(order=axes), name, name=f"{name}.{'nhwc' if last else 'nchw'}")

    def _integers(self, value: str) -> str:
        return self._dequantize(value).operands[0]

    def _dequantize(self, value: str) -> Node:
        node = self.source.producers[value]
        assert isinstance(node.op, Dequantize), f"%{value} is not a dequantized value"
        return node


@dataclass
class Context(Values):
    """One op under lowering: its node, what it must produce, and the state of the lowering."""

    node: Node = field(kw_only=True)
    result: Result = field(kw_only=True)

    @property
    def x(self) -> str:
        """The first operand."""
        return self.node.operands[0]

    @property
    def quants(self) -> tuple[Quantization, ...]:
        """The quantizations of all operands."""
        return tuple(map(self.quant, self.node.operands))

    @property
    def is_tflite(self) -> bool:
        """Whether sums, means and softmax follow TFLite's reference kernels: rules T1 to T5."""
        return self.target.kernels == "tflite"

    def emit(self, op: Op, *operands: str, last: bool = False) -> Emitted:
        """Add the op that ends in the result."""
        return Emitted(self.add(op, *operands, result=self.result), last)

    def emit_pair(self, op: Op, *factors: str) -> Emitted:
        """Add an op of two operands that broadcast."""
        operands, last = self.pair()
        return self.emit(op, *operands, *factors, last=last)

    def pair(self, result: Result | None = None) -> tuple[list[str], bool]:
        """The operands of a broadcasting op in one layout: channels last where one of them is so."""
        rank, operands = self.node.type.rank, self.node.operands
        last = any(self.is_last(operand) for operand in operands if len(self.shape(operand)) == rank)
        return [self.take(name, last=last, result=result, rank=rank if last else 0) for name in operands], last

    def ending(self, op: str = "") -> dict[str, Any]:
        """The attributes of the requantization to the result."""
        return self.tail(self.result, op)

    def plane(self, *, result: Result | None = None) -> str:
        """The integers of the first operand channels last, with a height of 1 where it has one spatial axis."""
        name = self.take(self.x, last=True, result=result)
        type_ = self.builder.types[name]
        if type_.rank == 4:
            return name
        n, length, channels = type_.shape
        return self.builder.add(Reshape(shape=(n, 1, length, channels)), name, name=f"{name}.plane")

    def parameters(self, weights: np.ndarray, quant: Quantization) -> tuple[str, ...]:
        """The constants of a weighted sum: weights [..., channels], bias less the operand's zero point, M and s."""
        x, w, *bias = self.node.operands
        integers = self.integers(bias[0]) if bias else np.zeros(weights.shape[-1], np.int64)
        folded = integers - self.quant(x).zero_point * weights.reshape(-1, weights.shape[-1]).sum(0)
        dtype = self.width(x).bias_dtype
        low, high = dtype.range
        fits = folded.min(initial=0) >= low and folded.max(initial=0) <= high
        require(fits, f"its bias takes more than {dtype.bits} bits with the zero point of its operand")
        return (
            self.builder.constant(weights.astype(self.dtype(w).numpy), f"{self.result.name}.w", quant),
            self.builder.constant(folded.astype(dtype.numpy), f"{self.result.name}.b"),
            *self.rescale(self.quant(x).scale * np.asarray(quant.scales, np.float64) / self.result.quant.scale),
        )

    def rescale(self, real: float | np.ndarray) -> tuple[str, str]:
        """Constants (M, s) for real factors, one or many; repairs go to the report."""
        return self.factors(*self.multipliers(np.atleast_1d(real), self.target.shift_range))

    def multipliers(self, real: np.ndarray, shifts: Interval) -> tuple[np.ndarray, np.ndarray]:
        """Multipliers and shifts of real factors; notes about them go to the report."""
        multipliers, found, repairs = multipliers_and_shifts(real, shifts)
        self.repairs.extend((self.node.place, repair) for repair in repairs)
        return multipliers, found

    def common_rescale(self, reals: np.ndarray) -> tuple[str, str]:
        """Constants (M, s) for real factors with one shift."""
        multipliers, shift = common_multipliers(reals, self.target.rescale_shift_range)
        return self.builder.constant(multipliers, "m"), self.builder.constant(shift, "s")


def order(rank: int, *, last: bool) -> Order:
    """The transposition to channels last, or back from it."""
    return (0, *range(2, rank), 1) if last else (0, rank - 1, *range(1, rank - 1))


def laid_out(op: O, rank: int, *, last: bool) -> O:
    """An op of the user's layout in a layout."""
    return reordered(op, order(rank, last=False) if last else tuple(range(rank)))


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
