"""ONNX's axes: attributes in older opsets, operands in newer ones; negative axes count from the end."""

from __future__ import annotations

import math

from npuq.ir import RuleError, require

from ...context import Context, Ints, Node, front


def fronts(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, each once."""
    found = tuple(front(axis, rank) for axis in axes)
    require(len(set(found)) == len(found), f"axes {axes} of {rank} axes: one occurs twice")
    return found


def optional_integers(context: Context, node: Node, name: str, operand: int) -> tuple[int, ...] | None:
    """A list of integers, an attribute in one opset and a constant operand in another; None if absent."""
    if node.has(name):
        return node.ints(name)
    return None if node.optional(operand) is None else context.integers(operand, name)


def required_integers(context: Context, node: Node, name: str, operand: int) -> tuple[int, ...]:
    """A required list of integers, found as by `optional_integers`."""
    found = optional_integers(context, node, name, operand)
    if found is None:
        raise RuleError(f"{name} are missing")
    return found


def rows(context: Context, node: Node) -> Ints:
    """The shape of the operand as a matrix whose rows begin at `axis`, which may be the rank."""
    shape, axis = context.shape, node.int("axis", 1)
    axis = axis if axis == len(shape) else context.axis(axis)
    return math.prod(shape[:axis]), math.prod(shape[axis:])
