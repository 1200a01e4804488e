"""Mixed-precision templates: the vendors' JSON in both of its forms, from and to precisions by name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from npuq.ir import Graph, NpuqError
from npuq.ir.op import registry
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.mixed.rules import violations
from npuq.passes.mixed.units import Units, units_of
from npuq.passes.precision import CALIBRATED_BITS, METHODS, Precision, require_method
from npuq.passes.target import Target, load_target

Entry = Mapping[str, Any]

KEYS = ("bitwidth", "mode", "weight_bitwidth", "op_names", "op_types")
COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*')

TYPES: Mapping[str, str] = {
    "gemm": "matmul",
    "globalaveragepool": "reducemean",
    "globalmaxpool": "reducemax",
    "layernormalization": "layernorm",
    "batchnormalization": "batchnorm",
    "upsample": "resize",
    "max": "maximum",
    "min": "minimum",
}
"""Operators of model files, in lower case, with another name here."""


def write_template(
    graph: Graph, precision: Mapping[str, Precision], *, target: str | Target = "npu", method: str | None = None
) -> str:
    """A mixed-precision template in the vendors' JSON with an entry for every quantized op.

    `method` is that of ops without one in `precision`, min_max above 8 bits; `weight_bitwidth` stands where it has it.
    """
    require_method(method)
    chosen, template = load_target(target), {}
    for unit in units_of(canonicalize()(graph), chosen):
        one = precision.get(unit.name, Precision())
        width = one.bits or chosen.default_bits
        default = (method or "kl_v2") if width <= CALIBRATED_BITS else "min_max"
        entry: dict[str, Any] = {"bitwidth": width, "mode": one.method or default}
        if one.weight_bits is not None:
            entry["weight_bitwidth"] = one.weight_bits
        template[unit.name] = entry
    return json.dumps(template, indent=2, ensure_ascii=False) + "\n"


def read_template(
    text: str, graph: Graph, *, target: str | Target = "npu", bits: int | None = None, place: str = "template"
) -> dict[str, Precision]:
    """The precision of every op that a template names, for `quantize`; `bits` is the width of the other ops.

    An entry is `op name: {"bitwidth", "mode"}` or, as a value of the object or an element of a list, `{"op_names",
    "op_types", "bitwidth", "mode"}`; names override types, and may be the graph's or the model file's. `//` comments
    and numbers in quotes are allowed. Raises `NpuqError` that names the entry and the rule it breaks.
    """
    chosen, by_name, by_type = load_target(target), dict[str, Precision](), dict[str, Precision]()
    units = units_of(canonicalize()(graph), chosen)
    known = _names(units)
    for name, entry in _entries(text, place):
        at = f"{place}: {name}"
        grouped = isinstance(entry, Mapping) and not {"op_names", "op_types"}.isdisjoint(entry)
        one = _precision(entry, chosen, at)
        for called in _listed(entry, "op_names", at) if grouped else (name,):
            _set(by_name, _found(called, known, "op", at), one, f"{at}: {called}" if grouped else at)
        for called in _listed(entry, "op_types", at) if grouped else ():
            _set(by_type, _type(called, at), one, f"{at}: {called}")
    found = {}
    for unit in units:
        types = (by_type.get(units.graph.producers[member].op.name) for member in unit.members)
        found[unit.name] = by_name.get(unit.name) or next(filter(None, types), Precision())
    default = bits or chosen.default_bits
    broken = list(violations(units, {name: one.bits or default for name, one in found.items()}))
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise NpuqError(f"{place}: {broken[0]}{more}; give them one width")
    return {member: found[unit.name] for unit in units if found[unit.name].bits for member in unit.members}


def _set(precisions: dict[str, Precision], op: str, one: Precision, at: str) -> None:
    """Set an op's precision; raise NpuqError if another entry, by any name, has set a different one."""
    before = precisions.setdefault(op, one)
    if before != one:
        words = [f"{each.bits} bits, {each.method}" for each in (one, before)]
        raise NpuqError(f"{at}: {words[0]}, but another entry gives {op} {words[1]}; one entry for it wanted")


def _precision(entry: Any, target: Target, at: str) -> Precision:
    if not isinstance(entry, Mapping):
        raise NpuqError(f"{at}: {entry!r}; an object with bitwidth and mode wanted")
    if reason := _broken_rule(entry, target):
        raise NpuqError(f"{at}: {reason}")
    weights = _number(entry["weight_bitwidth"]) if "weight_bitwidth" in entry else None
    return Precision(_number(entry["bitwidth"]), entry["mode"], weights)


def _broken_rule(entry: Entry, target: Target) -> str:
    """The first rule that an entry breaks, with its numbers; empty if there is none."""
    missing = [key for key in ("bitwidth", "mode") if entry.get(key) in (None, "None", "")]
    if missing:
        return f"no {' and no '.join(missing)}; both bitwidth and mode wanted"
    unknown = [key for key in entry if key not in KEYS]
    if unknown:
        return f"unknown key {unknown[0]!r}; there are {', '.join(KEYS)}"
    widths = {width.bits: [dtype.bits for dtype in width.weight_dtypes] for width in target.widths}
    bits = _number(entry["bitwidth"])
    if bits not in widths:
        return f"bitwidth {entry['bitwidth']!r}; {target.name} has {' and '.join(map(str, widths))}"
    if "weight_bitwidth" in entry and _number(entry["weight_bitwidth"]) not in widths[bits]:
        has = f"beside {entry['bitwidth']} bits {target.name} has {' and '.join(map(str, widths[bits]))}"
        return f"weight_bitwidth {entry['weight_bitwidth']!r}; {has}"
    return "" if entry["mode"] in METHODS else f"mode {entry['mode']!r}; there are {', '.join(METHODS)}"


def _number(value: Any) -> int:
    """A whole number, in quotes or not; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return 0
    return value if isinstance(value, int) else int(value) if value.strip().isdecimal() else 0


def _entries(text: str, place: str) -> list[tuple[str, Any]]:
    """The entries of a template with the name of each."""
    try:
        found = json.loads(COMMENT.sub(lambda match: match[1] or "", text), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise NpuqError(f"{place}: not a template: {error}") from None
    if isinstance(found, Mapping):
        return list(found.items()) if {"op_names", "op_types"}.isdisjoint(found) else [("entry 0", found)]
    if isinstance(found, list):
        return [(f"entry {index}", entry) for index, entry in enumerate(found)]
    raise NpuqError(f"{place}: not a template: an object of entries, or a list of them, wanted")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _listed(entry: Entry, key: str, at: str) -> tuple[str, ...]:
    given = entry.get(key, ())
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise NpuqError(f"{at}: {key} {given!r}; a list of names wanted")
    return names


def _names(units: Units) -> dict[str, str]:
    """The unit of each name: of a node in the graph or, if only one unit has it, in the user's file."""
    producers = units.graph.producers
    found: dict[str, str | None] = {}
    for unit in units:
        for called in {producers[member].loc.rpartition(":")[2] for member in unit.members} - {""}:
            found[called] = unit.name if called not in found else None
    found.update({member: unit.name for unit in units for member in unit.members})
    return {called: name for called, name in found.items() if name is not None}


def _found(called: str, known: Mapping[str, str], what: str, at: str) -> str:
    """The meaning of a name; an unknown one is an error with similar names."""
    if called in known:
        return known[called]
    near = difflib.get_close_matches(called, known, n=3) or list(known)[:3]
    spelled = called if at.endswith(f": {called}") else f"{at}: {called}"
    where = at if spelled == called else spelled
    raise NpuqError(f"{where}: there is no such quantized {what}; there is {', '.join(near) or 'none'}")


def _type(called: str, at: str) -> str:
    """An op type, as the graph or a model file spells it."""
    known = {_plain(name): name for name in registry()}
    known.update({alias: known[name] for alias, name in TYPES.items() if name in known})
    return known[_plain(called)] if _plain(called) in known else _found(called, known, "op type", at)


def _plain(called: str) -> str:
    return called.replace("_", "").lower()
