"""Converters: one function per ONNX operator, found by name and opset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from npuq.ir import NpuqError, require

from ..context import Context, Node

OPSET = 20
"""The opset whose operators other frontends name."""

Converter = Callable[[Context, Node], str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A converter and the first opset whose meaning it translates."""

    since: int
    convert: Converter


_CONVERTERS: dict[tuple[str, str], list[Entry]] = {}


def converts(op: str, *, since: int = 1, domain: str = "") -> Callable[[Converter], Converter]:
    """Register the converter of one operator from opset `since` to the next registered one's.

    A function may serve several operators or several ranges; it may also look at `context.opset` by itself.
    """

    def register(convert: Converter) -> Converter:
        entries = _CONVERTERS.setdefault((domain, op), [])
        assert all(entry.since != since for entry in entries), f"{op} since {since} is registered twice"
        entries.append(Entry(since, convert))
        entries.sort(key=lambda entry: entry.since)
        return convert

    return register


def find(op: str, opset: int, domain: str = "") -> Converter | None:
    """The converter for an operator as it is defined at `opset`, or None."""
    fitting = [entry for entry in _CONVERTERS.get((domain, op), ()) if entry.since <= opset]
    return fitting[-1].convert if fitting else None


def supported(domain: str = "") -> Mapping[str, tuple[int, ...]]:
    """The operators that can be converted, each with the opsets at which a converter's range begins."""
    return {
        op: tuple(entry.since for entry in entries)
        for (its, op), entries in sorted(_CONVERTERS.items())
        if its == domain
    }


def convert(context: Context, converter: Converter) -> tuple[str, ...]:
    """Run a converter; its broken rules get the node's place, its results the user's names."""
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
    """Append what an ONNX operator means, for sources that define one of theirs as ONNX does; its first result."""
    node = replace(context.node, op=operator, operands=tuple(operands), attributes=attributes)
    converter = find(operator, opset)
    assert converter is not None, operator
    result = converter(replace(context, node=node, opset=opset), node)
    return result if isinstance(result, str) else result[0]
