"""Scale files: the quantization of every value, as JSON that people and other tools can read and write.

    {"format": "npuq-scales", "version": 1, "graph": ..., "digest": ..., "target": ...,
     "values": {NAME: [{"bits": 8, "scale": ..., "zero_point": 0, "range": [..., ...]}, ...], ...}}

One entry for each width at which a value is held. `range` holds the reals of the least and the greatest integer; an
entry without `scale` is quantized to reach its `range`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard

from npuq.ir import Graph, NpuqError, Quantization, one_line
from npuq.ir.ops.quant import Dequantize, Quantize

from ..lowering.plan import EVERYWHERE, Held, plan_of
from ..pipeline import FOUND, graph_pass
from ..precision import Precisions
from ..scales import Range, activation_quantization, representable
from ..target import Target, Width

FORMAT = "npuq-scales"
VERSION = 1
KEYS = ("bits", "scale", "zero_point", "range")


@dataclass(frozen=True)
class ScaleFile:
    """The content of a scale file, and what errors call it."""

    content: Mapping[str, Any]
    place: str

    @classmethod
    def load(cls, path: str) -> ScaleFile:
        return cls(read_scales(path), path)


@dataclass(frozen=True)
class Given:
    """The scales of a file, the ranges that lead to them, and notes about them."""

    quants: Mapping[Held, Quantization]
    ranges: Mapping[Held, Range]
    notes: tuple[str, ...] = ()

    def changed(self, graph: Graph) -> tuple[str, ...]:
        """A note for each given scale that a fake-quant graph does not have."""
        found = held_scales(graph)
        return tuple(
            f"scale of %{name} at {bits} bits: {quant.scale:.6g} given, {found[name, bits].scale:.6g} taken: "
            "it is fixed by its op, shared with other values, or repaired"
            for (name, bits), quant in self.quants.items()
            if (name, bits) in found and found[name, bits] != quant
        )


@graph_pass("read-scales", analyzes=True, gives=("given", "given_scales"))
def give_scales(
    graph: Graph, *, file: str | Path | Mapping[str, Any], target: Target = FOUND, precision: Precisions = EVERYWHERE
) -> Mapping[str, Any]:
    """Read a file that `npuq quantize --scales-out` wrote; its scales replace calibrated ranges."""
    held = plan_of(graph, target, precision).held
    wanted = {name: bits for name, bits in held.items() if name not in graph.constants}
    found = given_scales(read_scales(file), graph, target, wanted, place_of(file))
    return {"given": found.ranges, "given_scales": found}


def scales_json(graph: Graph, fake: Graph, target: Target, values: Collection[Held]) -> str:
    """The file's text: the scales that a fake-quant graph has for `values` of the canonical float graph."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for (name, bits), quant in held_scales(fake).items():
        if (name, bits) in values:
            low, high = representable(quant, target.width(bits))
            entry = {"bits": bits, "scale": quant.scale, "zero_point": quant.zero_point, "range": [low, high]}
            entries.setdefault(name, []).append(entry)
    head = {"format": FORMAT, "version": VERSION, "graph": graph.name, "digest": digest(graph), "target": target.name}
    return json.dumps({**head, "values": entries}, indent=1) + "\n"


def read_scales(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of a scale file; a mapping of values by name stands for one.

    Raises `NpuqError` where the file is no scale file of this version.
    """
    if isinstance(source, Mapping):
        return source if "format" in source else {"values": source}
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NpuqError(f"{Path(source)}: cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NpuqError(f"{source}: no scale file: its format is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise NpuqError(f"{source}: version {content.get('version')!r}, {VERSION} wanted")
    return content


def place_of(source: object) -> str:
    """The name of a scale file, or of the mapping in its place, in errors."""
    return str(source) if isinstance(source, str | Path) else "scales"


def given_scales(
    content: Mapping[str, Any],
    graph: Graph,
    target: Target,
    wanted: Mapping[str, Collection[int]],
    place: str = "scales",
) -> Given:
    """The scales of a scale file for a canonical float graph, whose values `wanted` are held at so many bits.

    Values without an entry are calibrated. Raises `NpuqError`, which begins with `place`, for unknown names, and for
    entries that the target or the format do not allow.
    """
    values = content.get("values")
    if not isinstance(values, Mapping):
        raise NpuqError(f"{place}: no values by name")
    quants: dict[Held, Quantization] = {}
    ranges: dict[Held, Range] = {}
    for name, entries in values.items():
        if name not in wanted:
            near = get_close_matches(str(name), list(wanted), n=3) or list(wanted)[:3]
            raise NpuqError(f"{place}: {graph.name} quantizes no value {name!r}; similar names: {', '.join(near)}")
        at, listed = f"{place}: {name}", entries if isinstance(entries, list) else [entries]
        if not listed:
            raise NpuqError(f"{at}: the entry is empty; without the name the value is calibrated")
        for entry in listed:
            width, quant = _quantization(at, entry, target)
            if quants.get((name, width.bits), quant) != quant:
                raise NpuqError(f"{at}: two entries at {width.bits} bits contradict each other; leave out one")
            if width.bits not in wanted[name]:
                held = " and ".join(map(str, wanted[name]))
                raise NpuqError(f"{at}: a scale at {width.bits} bits, but it is held at {held}")
            quants[name, width.bits] = quant
            ranges[name, width.bits] = _range(quant, width)
    notes = []
    if content.get("digest", digest(graph)) != digest(graph):
        notes.append(f"the scales were saved for another graph, {content.get('graph')}")
    missing = [name for name in wanted if name not in values]
    if missing:
        notes.append(f"{len(missing)} values without given scales are calibrated: {', '.join(missing)}")
    return Given(quants, ranges, tuple(notes))


def held_scales(fake: Graph) -> dict[Held, Quantization]:
    """The quantization of every value at each width, by its name before quantization, in the graph's order."""
    found = {}
    for node in fake.nodes:
        if not isinstance(node.op, Quantize) or node.op.axis is not None:
            continue
        name = node.operands[0]
        before = fake.producers.get(name)
        while before is not None and isinstance(before.op, Dequantize | Quantize):
            name = before.operands[0]
            before = fake.producers.get(name)
        found[name, node.op.dtype.bits] = node.op.quant
    return found


def digest(graph: Graph) -> str:
    """SHA-256 of a graph's text and constants."""
    hash_ = hashlib.sha256(str(graph).encode())
    for constant in graph.constants.values():
        hash_.update(constant.digest.encode())
    return hash_.hexdigest()


def _range(quant: Quantization, width: Width) -> Range:
    """A range that is quantized to exactly this."""
    if width.symmetric:
        end = width.activation_range[1] * quant.scale
        return -end, end
    return representable(quant, width)


def _quantization(at: str, entry: Any, target: Target) -> tuple[Width, Quantization]:
    """The width and quantization of an entry."""
    if not isinstance(entry, Mapping) or not entry.keys() <= set(KEYS) or not entry.keys() & {"scale", "range"}:
        raise NpuqError(f"{at}: an object with scale or range wanted, and of {', '.join(KEYS)} nothing else")
    bits = entry.get("bits", target.default_bits)
    known = [width.bits for width in target.widths]
    if bits not in known:
        raise NpuqError(f"{at}: {bits!r} bits; {target.name} has {', '.join(map(str, known))}")
    width = target.width(bits)
    range_ = entry.get("range")
    if range_ is not None and not (isinstance(range_, list | tuple) and len(range_) == 2 and all(map(_finite, range_))):
        raise NpuqError(f"{at}: range {range_!r}, two finite numbers wanted")
    if range_ is not None and range_[0] >= range_[1]:
        raise NpuqError(f"{at}: range {list(range_)} is empty; a lesser and a greater number wanted")
    if "scale" not in entry and range_ is not None:
        return width, activation_quantization((float(range_[0]), float(range_[1])), width)
    scale, zero_point = entry.get("scale"), entry.get("zero_point", 0)
    if not _finite(scale) or scale <= 0:
        raise NpuqError(f"{at}: scale {scale!r}, a positive number wanted")
    least, greatest = (0, 0) if width.symmetric else width.activation_range
    if not isinstance(zero_point, int) or not least <= zero_point <= greatest:
        raise NpuqError(f"{at}: zero point {zero_point!r}, {least} to {greatest} wanted")
    quant = Quantization.per_tensor(scale, zero_point)
    if range_ is not None and not all(map(_close, range_, representable(quant, width))):
        raise NpuqError(f"{at}: scale {scale!r} and range {list(range_)} contradict each other; leave out one")
    return width, quant


def _finite(number: Any) -> TypeGuard[float]:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-30)
