"""Converters of convolutions and poolings in any layout to channels first."""

from __future__ import annotations

import math

import numpy as np

from npuq.ir import ops, require

from ..context import Ints, Windows
from .registry import Equation, converts


@converts("conv_general_dilated")
def convolution(equation: Equation) -> str:
    """Convert operands to NCHW and OIHW, and the result back; a dilated operand makes a transposed convolution."""
    params = equation.params
    numbers = params["dimension_numbers"]
    equation.require_plain(batch_group_count=1)
    groups, padding = params["feature_group_count"], tuple(tuple(map(int, pads)) for pads in params["padding"])
    x = equation.transposed(equation.full(0), numbers.lhs_spec)
    stored = equation.weight(1, lambda array: array.transpose(numbers.rhs_spec))
    weights = equation.transposed(equation.full(1), numbers.rhs_spec) if stored is None else stored
    if all(step == 1 for step in params["lhs_dilation"]):
        op = ops.Conv(
            stride=tuple(params["window_strides"]),
            padding=padding,  # type: ignore[arg-type]  # pairs
            dilation=tuple(params["rhs_dilation"]),
            groups=groups,
        )
        y = equation.add(op, x, weights)
    else:
        y = _transposed(equation, x, weights, padding)
    return equation.transposed(y, np.argsort(numbers.out_spec).tolist())


def _transposed(equation: Equation, x: str, weights: str, padding: tuple[Ints, ...]) -> str:
    """A convolution of dilated x is the transposed convolution with the flipped window."""
    params = equation.params
    require(all(step == 1 for step in params["window_strides"]), "both strides and a spread operand")
    known = equation.known(weights)
    require(known is not None, "the weights of a transposed convolution are computed")
    assert known is not None
    groups, dilation = params["feature_group_count"], tuple(params["rhs_dilation"])
    outputs, inputs, *window = known.shape
    apart = known.reshape(groups, outputs // groups, inputs, *window).swapaxes(1, 2)
    turned = np.flip(apart.reshape(groups * inputs, outputs // groups, *window), tuple(range(2, known.ndim)))
    reach = [(size - 1) * hole for size, hole in zip(window, dilation, strict=True)]
    cropped = [(far - before, far - after) for far, (before, after) in zip(reach, padding, strict=True)]
    op = ops.ConvTranspose(
        stride=tuple(params["lhs_dilation"]),
        padding=tuple((before, max(after, 0)) for before, after in cropped),
        dilation=dilation,
        groups=groups,
        output_padding=tuple(max(-after, 0) for _, after in cropped),
    )
    return equation.add(op, x, equation.builder.constant(np.ascontiguousarray(turned), weights))


@converts("reduce_window_max")
def max_pool(equation: Equation) -> str:
    x, back, windows = _windows(equation)
    return equation.transposed(equation.add(ops.MaxPool(**windows), x), back)


@converts("reduce_window_sum")
def sum_pool(equation: Equation) -> str:
    """A mean that counts padding, times the size of the window."""
    x, back, windows = _windows(equation)
    mean = equation.add(ops.AveragePool(**windows, count_padding=True), x)
    total = equation.add(ops.Mul(), mean, equation.number(math.prod(windows["window"]), like=mean))
    return equation.transposed(total, back)


@converts("reduce_window_min")
def min_pool(equation: Equation) -> str:
    x, back, windows = _windows(equation)
    greatest = equation.add(ops.MaxPool(**windows), equation.add(ops.Neg(), x))
    return equation.transposed(equation.add(ops.Neg(), greatest), back)


def _windows(equation: Equation) -> tuple[str, list[int], Windows]:
    """Return the operand with spatial axes last, the inverse order, and the windows on those axes."""
    params, shape = equation.params, equation.shapes[0]
    rank = len(shape)
    require(all(step == 1 for step in params["base_dilation"]), "a spread operand is not supported")
    every = zip(params["window_dimensions"], params["window_strides"], params["padding"], strict=True)
    space = {axis for axis, (size, step, pads) in enumerate(every) if size > 1 or step > 1 or any(pads)}
    require(3 <= rank <= 5, f"an operand of rank {rank}, 3 to 5 wanted")
    last = set(range(1, rank - 1))
    axes = sorted(last if space <= last else set(range(2, rank)))
    require(space <= set(axes), f"windows over axes {sorted(space)} of {rank} are not supported")
    order = [axis for axis in range(rank) if axis not in axes] + axes
    window, stride, dilation = (
        tuple(int(params[name][axis]) for axis in axes)
        for name in ("window_dimensions", "window_strides", "window_dilation")
    )
    padding = tuple((int(params["padding"][axis][0]), int(params["padding"][axis][1])) for axis in axes)
    windows = Windows(window=window, stride=stride, padding=padding, dilation=dilation)
    return equation.transposed(equation.full(0), order), np.argsort(order).tolist(), windows
