"""Converters of convolutions and poolings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from npuq.ir import ops, require

from ...context import Context, Ints, Node, Pads, Windows
from ..registry import converts


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shared attributes of convolutions and poolings, an entry per spatial axis."""

    space: Ints
    window: Ints
    stride: Ints
    dilation: Ints
    pads: Pads
    automatic: str

    @classmethod
    def of(cls, context: Context, node: Node, window: Ints) -> Geometry:
        """Read the attributes, with ONNX's defaults."""
        x = context.type(node.operand(0))
        require(3 <= x.rank <= 5, f"operand of rank {x.rank}, 3 to 5 wanted")
        rank = x.rank - 2
        stride, dilation = node.ints("strides", (1,) * rank), node.ints("dilations", (1,) * rank)
        flat = node.ints("pads", (0,) * 2 * rank)
        require(len(flat) == 2 * rank, f"pads {flat} on {rank} spatial axes")
        for values in (window, stride, dilation):
            require(len(values) == rank, f"{values} on {rank} spatial axes")
            require(min(values) > 0, f"{values}: all must be > 0")
        automatic = node.string("auto_pad", "NOTSET")
        require(automatic in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"auto_pad {automatic!r} is not known")
        pads = tuple(zip(flat[:rank], flat[rank:], strict=True))
        return cls(x.shape[2:], window, stride, dilation, pads, automatic)

    @property
    def reach(self) -> Ints:
        """The extent of a window, in elements."""
        return tuple((width - 1) * hole + 1 for width, hole in zip(self.window, self.dilation, strict=True))

    @property
    def padding(self) -> Pads:
        """The padding of a sliding window; SAME gives ceil(size / stride) positions."""
        if self.automatic == "NOTSET":
            return self.pads
        if self.automatic == "VALID":
            return ((0, 0),) * len(self.space)
        found = []
        for size, reach, step in zip(self.space, self.reach, self.stride, strict=True):
            total = max((-(-size // step) - 1) * step + reach - size, 0)
            found.append(self.halves(total))
        return tuple(found)

    def halves(self, total: int) -> tuple[int, int]:
        """Split padding into two parts; SAME_UPPER puts the odd element last."""
        less, more = total // 2, total - total // 2
        return (less, more) if self.automatic == "SAME_UPPER" else (more, less)

    def beyond(self) -> Ints:
        """The extent of the last window beyond the padding if sizes round up.

        A window that would begin after the operand is dropped.
        """
        found = []
        for size, (before, after), reach, step in zip(self.space, self.padding, self.reach, self.stride, strict=True):
            padded = size + before + after
            positions = -(-(padded - reach) // step) + 1
            if (positions - 1) * step >= size + before:
                positions -= 1
            found.append(max((positions - 1) * step + reach - padded, 0))
        return tuple(found)


@converts("Conv")
def conv(context: Context, node: Node) -> str:
    geometry = Geometry.of(context, node, _window(context, node))
    op = ops.Conv(
        stride=geometry.stride, padding=geometry.padding, dilation=geometry.dilation, groups=node.int("group", 1)
    )
    return context.add(op, node.operand(0), node.operand(1), *filter(None, [node.optional(2)]))


@converts("ConvTranspose")
def conv_transpose(context: Context, node: Node) -> str:
    """`output_shape` determines the padding; without it SAME crops to size * stride."""
    geometry = Geometry.of(context, node, _window(context, node))
    rank = len(geometry.window)
    extra, sizes = node.ints("output_padding", (0,) * rank), node.ints("output_shape", ())
    require(len(extra) == rank, f"output_padding {extra} on {rank} spatial axes")
    require(len(sizes) in (0, rank), f"output_shape {sizes} on {rank} spatial axes")
    each = zip(geometry.space, geometry.stride, geometry.reach, extra, strict=True)
    full = [(size - 1) * step + reach + more for size, step, reach, more in each]
    if sizes:
        padding = tuple(geometry.halves(whole - wanted) for whole, wanted in zip(full, sizes, strict=True))
    elif geometry.automatic.startswith("SAME"):
        same = (size * step for size, step in zip(geometry.space, geometry.stride, strict=True))
        padding = tuple(geometry.halves(max(whole - wanted, 0)) for whole, wanted in zip(full, same, strict=True))
    else:
        padding = geometry.pads if geometry.automatic == "NOTSET" else ((0, 0),) * rank
    op = ops.ConvTranspose(
        stride=geometry.stride,
        padding=padding,
        dilation=geometry.dilation,
        groups=node.int("group", 1),
        output_padding=extra,
    )
    return context.add(op, node.operand(0), node.operand(1), *filter(None, [node.optional(2)]))


def _window(context: Context, node: Node) -> Ints:
    """The weights' window; `kernel_shape` must agree."""
    window = context.type(node.operand(1)).shape[2:]
    repeated = node.ints("kernel_shape", window)
    require(repeated == window, f"kernel_shape {repeated}, but the weights have {window}")
    return window


@converts("MaxPool")
def max_pool(context: Context, node: Node) -> tuple[str, ...]:
    """The indices of the greatest elements, if read, are an op of their own."""
    windows, _ = _pooling(context, node)
    results = [context.add(ops.MaxPool(**windows))]
    if node.reads(1):
        columns = node.flag("storage_order", False)
        results.append(context.add(ops.MaxPoolPlaces(**windows, column_major=columns)))
    return tuple(results)


@converts("MaxRoiPool")
def max_roi_pool(context: Context, node: Node) -> str:
    shape = node.ints("pooled_shape")
    require(len(shape) == 2, f"pooled_shape {shape}, two sizes wanted")
    op = ops.MaxRoiPool(shape=(shape[0], shape[1]), scale=node.float("spatial_scale", 1.0))
    return context.add(op, node.operand(0), node.operand(1))


@converts("AveragePool")
def average_pool(context: Context, node: Node) -> str:
    """Padding counts only with `count_include_pad`; the rounding's padding never counts."""
    windows, beyond = _pooling(context, node)
    counted = node.flag("count_include_pad", False)
    uncounted = beyond if counted and any(beyond) else ()
    return context.add(ops.AveragePool(**windows, count_padding=counted, uncounted=uncounted))


def _pooling(context: Context, node: Node) -> tuple[Windows, Ints]:
    """Return a pooling's windows, and the part of their padding that rounding up added."""
    geometry = Geometry.of(context, node, node.ints("kernel_shape"))
    beyond = geometry.beyond() if node.flag("ceil_mode", False) else (0,) * len(geometry.space)
    for (before, after), reach in zip(geometry.padding, geometry.reach, strict=True):
        require(max(before, after) < reach, f"padding {(before, after)} holds a whole window of {reach}")
    padding = tuple((before, after + more) for (before, after), more in zip(geometry.padding, beyond, strict=True))
    windows = Windows(window=geometry.window, stride=geometry.stride, padding=padding, dilation=geometry.dilation)
    return windows, beyond


@converts("LpPool")
def lp_pool(context: Context, node: Node) -> str:
    """The p-th root of the sum of powers, as their mean with padding times the window's size."""
    windows, _ = _pooling(context, node)
    p, count = node.int("p", 2), context.number(math.prod(windows["window"]), "count")
    mean = context.add(ops.AveragePool(**windows, count_padding=True), _power(context, p))
    return _root(context, context.add(ops.Mul(), mean, count), p)


@converts("GlobalLpPool")
def global_lp_pool(context: Context, node: Node) -> str:
    p = node.int("p", 2)
    return _root(context, context.add(ops.ReduceSum(axes=_space(context), keep=True), _power(context, p)), p)


def _power(context: Context, p: int) -> str:
    require(p > 0, f"p is {p}, at least 1 wanted")
    x = context.add(ops.Abs()) if p % 2 else context.x
    return x if p == 1 else context.add(ops.Pow(), x, context.number(p, "p"))


def _root(context: Context, x: str, p: int) -> str:
    if p <= 2:
        return context.add(ops.Sqrt(), x) if p == 2 else x
    return context.add(ops.Pow(), x, context.number(1 / p, "root"))


def _global(kind: type[ops.ReduceMean] | type[ops.ReduceMax], context: Context, node: Node) -> str:
    return context.add(kind(axes=_space(context), keep=True))


converts("GlobalAveragePool")(partial(_global, ops.ReduceMean))
converts("GlobalMaxPool")(partial(_global, ops.ReduceMax))


def _space(context: Context) -> Ints:
    rank = len(context.shape)
    require(rank >= 3, f"operand of rank {rank}, 3 or more wanted")
    return tuple(range(2, rank))
