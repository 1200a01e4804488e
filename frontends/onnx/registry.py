"""Converters: one function per ONNX operator, found by name and opset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from npuq.ir import NpuqError, require

from ..context import Context, Node

OPSET = 20
"""The opset of operators that other frontends use."""

Converter = Callable[[Context, Node], str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A converter and its first opset."""

    since: int
    convert: Converter


_CONVERTERS: dict[tuple[str, str], list[Entry]] = {}


def converts(op: str, *, since: int = 1, domain: str = "") -> Callable[[Converter], Converter]:
    """Register the converter of one operator from opset `since` to the next registered one's.

    A function may serve several operators or ranges, and may read `context.opset`.
    """

    def register(convert: Converter) -> Converter:
        entries = _CONVERTERS.setdefault((domain, op), [])
        assert all(entry.since != since for entry in entries), f"{op} since {since} is registered twice"
        entries.append(Entry(since, convert))
        entries.sort(key=lambda entry: entry.since)
        return convert

    return register


def find(op: str, opset: int, domain: str = "") -> Converter | None:
    """The converter of an operator at `opset`, or None."""
    fitting = [entry for entry in _CONVERTERS.get((domain, op), ()) if entry.since <= opset]
    return fitting[-1].convert if fitting else None


def supported(domain: str = "") -> Mapping[str, tuple[int, ...]]:
    """The supported operators, each with the first opsets of its converters."""
    return {
        op: tuple(entry.since for entry in entries)
        for (its, op), entries in sorted(_CONVERTERS.items())
        if its == domain
    }


def convert(context: Context, converter: Converter) -> tuple[str, ...]:
    """Run a converter; its errors get the node's location, its results the user's names."""
    node = context.node
    try:
        returned = converter(context, node)
        results = (returned,) if isinstance(returned, str) else returned
        for index in range(len(results), len(node.outputs)):
            require(not node.reads(index), f"output {index} ({node.outputs[index]!r}) is not supported")
    except NpuqError as error:
        message = str(error)
        raise NpuqError(message if message.startswith(node.loc) else f"{node.loc}: {node.op}: {message}") from None
    return context.finish(results)


def apply(
    context: Context, operator: str, operands: Sequence[str | None], attributes: Mapping[str, Any], opset: int = OPSET
) -> str:
    """Append the translation of an ONNX operator for another frontend; return its first result."""
    node = replace(context.node, op=operator, operands=tuple(operands), attributes=attributes)
    converter = find(operator, opset)
    assert converter is not None, operator
    result = converter(Context(context.builder, node, opset, context.sequences, context.read), node)
    return result if isinstance(result, str) else result[0]
