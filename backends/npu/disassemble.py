"""Programs as text, for writing and debugging firmware."""

from __future__ import annotations

import numpy as np

from npuq.ir import Node, TensorType
from npuq.ir.arithmetic import right_shift
from npuq.ir.graph import attribute_text

from ..memory import Slot
from .contents import Contents
from .layout import Placement, Role, operand_names, place_constants


def disassemble(contents: Contents) -> str:
    """Write a program: its interface, the target, then one line per instruction.

    Results are `%name@offset type`, their offset in the arena; constants are `#offset type`, theirs in the data.
    Multipliers and shifts are written as their range, shifts as the machine's q = s - 31: a negative q is a left
    shift of the operands.
    """
    graph, target, plan = contents.graph, contents.target, contents.plan
    places: dict[str, Slot | Placement] = {slot.value: slot for slot in plan.slots}
    constants = {place.name: place for place in place_constants(graph)}
    places.update(constants)
    size = sum(place.size for place in constants.values())
    lines = [
        f"program {graph.name}",
        f"target {target.name}: {target.description}; rounding {target.rounding}",
        f"arena {plan.arena_size} bytes for {plan.live_peak} alive at most, constants {size} bytes, "
        f"{len(contents.known_answers)} known answers",
        *(f"input {_value(name, type_, places)}" for name, type_ in graph.inputs.items()),
    ]
    width = len(str(max(len(graph.nodes) - 1, 0)))
    lines += [f"{index:>{width}}  {_instruction(contents, node, places)}" for index, node in enumerate(graph.nodes)]
    lines += [f"output {name} = {_value(value, graph.types[value], places)}" for name, value in graph.outputs.items()]
    return "\n".join(lines) + "\n"


def _instruction(contents: Contents, node: Node, places: dict[str, Slot | Placement]) -> str:
    graph = contents.graph
    results = ", ".join(_value(name, type_, places) for name, type_ in zip(node.results, node.types, strict=True))
    operands: list[str] = []
    for name, parameter in zip(node.operands, operand_names(node.op, len(node.operands)), strict=True):
        place = places[name]
        if isinstance(place, Placement) and place.role in (Role.MULTIPLIER, Role.SHIFT):
            summary = _range(graph.constants[name].array, shift=place.role is Role.SHIFT)
            operands.append(f"{'q' if place.role is Role.SHIFT else 'M'}=#{place.offset} {summary}")
        else:
            operands.append(f"{parameter}={_operand(name, graph.types[name], place)}")
    attributes = " ".join(f"{name}={attribute_text(value)}" for name, value in node.op.attributes.items())
    parts = [f"{results} = {node.op.name} {', '.join(operands)}", attributes]
    if node.host:
        parts.append(f"HOST: {node.host}")
    if node.loc:
        parts.append(f"; {node.loc}")
    return "  ".join(part for part in parts if part)


def _operand(name: str, type_: TensorType, place: Slot | Placement) -> str:
    """An operand; a constant has its type here, a computed value at its instruction."""
    return f"#{place.offset} {_type(type_)}" if isinstance(place, Placement) else f"%{name}@{place.offset}"


def _value(name: str, type_: TensorType, places: dict[str, Slot | Placement]) -> str:
    place = places[name]
    mark = "#" if isinstance(place, Placement) else ""
    return f"%{name}@{mark}{place.offset} {_type(type_)}"


def _type(type_: TensorType) -> str:
    """A type with its scale, or the range of its scales."""
    shape = "x".join(map(str, type_.shape)) or "scalar"
    quant = type_.quant
    if quant is None:
        return f"{type_.dtype}[{shape}]"
    if quant.axis is None:
        zero_point = f" zp {quant.zero_point}" if quant.zero_point else ""
        return f"{type_.dtype}[{shape}] scale {quant.scale:.6g}{zero_point}"
    return f"{type_.dtype}[{shape}] scales {min(quant.scales):.6g}..{max(quant.scales):.6g} on axis {quant.axis}"


def _range(array: np.ndarray, *, shift: bool) -> str:
    numbers = sorted({int(array.min()), int(array.max())}) if array.size else []
    spelled = [str(right_shift(number)) if shift else f"{number:#x}" for number in numbers]
    return "..".join(spelled)
