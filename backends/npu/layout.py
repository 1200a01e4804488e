"""The order and place of the constants: what an instruction reads lies together, in the order of first use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from npuq.ir import Graph, Op
from npuq.ir.ops.npu.result import Integer

ALIGNMENT = 16
LAYER_ALIGNMENT = 64
"""The first constant of each instruction starts on this; the others on `ALIGNMENT`."""


class Role(IntEnum):
    """What an instruction uses a constant for, numbered as in the schema."""

    DATA = 0
    WEIGHTS = 1
    BIAS = 2
    MULTIPLIER = 3
    SHIFT = 4
    TABLE = 5


ROLES: Mapping[str, Role] = {
    "w": Role.WEIGHTS,
    "bias": Role.BIAS,
    "multiplier": Role.MULTIPLIER,
    "shift": Role.SHIFT,
    "table": Role.TABLE,
}
"""Roles by the name of the operand in an integer op's `infer`."""


@dataclass(frozen=True, slots=True)
class Placement:
    """`size` bytes at `offset` of the program's data, with what its first reader uses them for."""

    name: str
    offset: int
    size: int
    role: Role


def operand_names(op: Op, count: int) -> tuple[str, ...]:
    """The names of an op's operands: the parameters of its `infer`, numbered if variadic."""
    names: list[str] = []
    for parameter in inspect.signature(op.infer).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}{index}" for index in range(count - len(names))]
        else:
            names.append(parameter.name)
    return tuple(names[:count])


def role_of(op: Op, operand: str) -> Role:
    """The role of a constant by the name of its operand."""
    return ROLES.get(operand, Role.DATA) if isinstance(op, Integer) else Role.DATA


def place_constants(graph: Graph) -> tuple[Placement, ...]:
    """Every constant of the graph, in streaming order; those that no instruction reads come last."""
    roles: dict[str, Role] = {}
    starts: set[str] = set()
    for node in graph.nodes:
        fresh: list[str] = []
        for operand, parameter in zip(node.operands, operand_names(node.op, len(node.operands)), strict=True):
            if operand in graph.constants and operand not in roles:
                roles[operand] = role_of(node.op, parameter)
                fresh.append(operand)
        starts.update(fresh[:1])
    roles.update((name, Role.DATA) for name in graph.constants if name not in roles)
    placed: list[Placement] = []
    at = 0
    for name, role in roles.items():
        alignment = LAYER_ALIGNMENT if name in starts else ALIGNMENT
        at = -(-at // alignment) * alignment
        placed.append(Placement(name, at, graph.constants[name].type.bytes, role))
        at += placed[-1].size
    return tuple(placed)
