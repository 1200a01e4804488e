"""Mixed-precision templates: the vendors' JSON in both of its forms, to and from a mapping of precisions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from npuq.ir import NpuqError
from npuq.ir.op import registry
from npuq.passes.mixed.rules import violations
from npuq.passes.mixed.units import Unit, Units
from npuq.passes.precision import CALIBRATED_BITS, METHODS, Precision
from npuq.passes.target import Target

Entry = Mapping[str, Any]
EntryRule = Callable[[Entry, Target], "str | None"]

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
"""What operators of model files, spelt without capitals, are called here where that is another word."""


def write_template(units: Units, precision: Mapping[str, Precision], *, bits: int, method: str) -> str:
    """A template with one entry per unit, by name, in order: what `precision` says, else `bits` and `method`.

    Widths that need no clipping have min_max where nothing is said.

    `weight_bitwidth` stands only where the weights' width is chosen too.
    """
    template = {}
    for unit in units:
        one = precision.get(unit.name, Precision())
        width = one.bits or bits
        default = method if width <= CALIBRATED_BITS else "min_max"
        entry: dict[str, Any] = {"bitwidth": width, "mode": one.method or default}
        if one.weight_bits is not None:
            entry["weight_bitwidth"] = one.weight_bits
        template[unit.name] = entry
    return json.dumps(template, indent=2, ensure_ascii=False) + "\n"


def read_template(
    text: str, units: Units, target: Target, *, bits: int, place: str = "template"
) -> dict[str, Precision]:
    """The precision of every op that a template names, fused ones included; `bits` is the width of all others.

    An entry is `op name: {"bitwidth", "mode"}` or, as a value of the object or an element of a list, `{"op_names",
    "op_types", "bitwidth", "mode"}`, where names win over types. An op goes by its name in the graph or in the model
    file. `//` comments and numbers in quotes are fine. Raises NpuqError that names the entry and the rule it breaks.
    """
    by_name: dict[str, Precision] = {}
    by_type: dict[str, Precision] = {}
    known = _names(units)
    for name, entry in _entries(text, place):
        at = f"{place}: {name}"
        grouped = isinstance(entry, Mapping) and not {"op_names", "op_types"}.isdisjoint(entry)
        one = _precision(entry, target, at)
        for called in _listed(entry, "op_names", at) if grouped else (name,):
            _say(by_name, _found(called, known, "op", at), one, f"{at}: {called}" if grouped else at)
        for called in _listed(entry, "op_types", at) if grouped else ():
            _say(by_type, _type(called, at), one, f"{at}: {called}")
    said = {unit.name: _of(unit, units, by_name, by_type) for unit in units}
    chosen = {name: precision for name, precision in said.items() if precision is not None}
    broken = list(violations(units, {unit.name: chosen.get(unit.name, Precision()).bits or bits for unit in units}))
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise NpuqError(f"{place}: {broken[0]}{more}; give them one width")
    return spread(units, chosen)


def _say(said: dict[str, Precision], op: str, one: Precision, at: str) -> None:
    """Take an op's precision; raise NpuqError where another entry, by whatever name, says something else."""
    before = said.setdefault(op, one)
    if before != one:
        told = [f"{had.bits} bits, {had.method}" for had in (one, before)]
        raise NpuqError(f"{at}: {told[0]}, but another entry gives {op} {told[1]}; one entry for it wanted")


def spread(units: Units, chosen: Mapping[str, Precision]) -> dict[str, Precision]:
    """Give what is fused into a unit the unit's own precision."""
    return {member: chosen[unit.name] for unit in units if unit.name in chosen for member in unit.members}


def both_keys(entry: Entry, target: Target) -> str | None:
    """An entry has both `bitwidth` and `mode`."""
    missing = [key for key in ("bitwidth", "mode") if entry.get(key) in (None, "None", "")]
    return f"no {' and no '.join(missing)}; both bitwidth and mode wanted" if missing else None


def known_keys(entry: Entry, target: Target) -> str | None:
    """An entry has no other keys than `bitwidth`, `mode`, `weight_bitwidth`, and the lists of a group."""
    wanted = ("bitwidth", "mode", "weight_bitwidth", "op_names", "op_types")
    unknown = [key for key in entry if key not in wanted]
    return f"unknown key {unknown[0]!r}; there are {', '.join(wanted)}" if unknown else None


def target_has_width(entry: Entry, target: Target) -> str | None:
    """`bitwidth` is a width of the target."""
    widths = [width.bits for width in target.widths]
    if _number(entry["bitwidth"]) in widths:
        return None
    return f"bitwidth {entry['bitwidth']!r}; {target.name} has {' and '.join(map(str, widths))}"


def target_has_weight_width(entry: Entry, target: Target) -> str | None:
    """`weight_bitwidth`, where it is given, is a width that the target's weights can have beside `bitwidth`."""
    if "weight_bitwidth" not in entry:
        return None
    widths = [dtype.bits for dtype in target.width(_number(entry["bitwidth"])).weight_dtypes]
    if _number(entry["weight_bitwidth"]) in widths:
        return None
    spelled = " and ".join(map(str, widths))
    return f"weight_bitwidth {entry['weight_bitwidth']!r}; beside {entry['bitwidth']} bits {target.name} has {spelled}"


def known_mode(entry: Entry, target: Target) -> str | None:
    """`mode` is a calibration method."""
    if entry["mode"] in METHODS:
        return None
    return f"mode {entry['mode']!r}; there are {', '.join(METHODS)}"


ENTRY_RULES: tuple[EntryRule, ...] = (both_keys, known_keys, target_has_width, target_has_weight_width, known_mode)


def _precision(entry: Any, target: Target, at: str) -> Precision:
    if not isinstance(entry, Mapping):
        raise NpuqError(f"{at}: {entry!r}; an object with bitwidth and mode wanted")
    for rule in ENTRY_RULES:
        reason = rule(entry, target)
        if reason is not None:
            raise NpuqError(f"{at}: {reason}")
    weights = _number(entry["weight_bitwidth"]) if "weight_bitwidth" in entry else None
    return Precision(_number(entry["bitwidth"]), entry["mode"], weights)


def _number(value: Any) -> int:
    """A whole number, in quotes or not; 0 where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return 0
    return value if isinstance(value, int) else int(value) if value.strip().isdecimal() else 0


def _entries(text: str, place: str) -> list[tuple[str, Any]]:
    """The entries of a template with the name of each."""
    try:
        found = json.loads(COMMENT.sub(lambda match: match[1] or "", text), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise NpuqError(f"{place}: not a template: {error}") from None
    if isinstance(found, Mapping) and {"op_names", "op_types"}.isdisjoint(found):
        return list(found.items())
    if isinstance(found, list | Mapping):
        listed = found if isinstance(found, list) else [found]
        return [(f"entry {index}", entry) for index, entry in enumerate(listed)]
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
    """The unit that a name means: of a node in the graph or, where only one unit has it, in the user's file."""
    producers = units.graph.producers
    found: dict[str, str | None] = {}
    for unit in units:
        for called in {producers[member].loc.rpartition(":")[2] for member in unit.members} - {""}:
            found[called] = unit.name if called not in found else None
    found.update({member: unit.name for unit in units for member in unit.members})
    return {called: name for called, name in found.items() if name is not None}


def _found(called: str, known: Mapping[str, str], what: str, at: str) -> str:
    """What a name stands for; an error with the names that look like it."""
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


def _of(
    unit: Unit, units: Units, by_name: Mapping[str, Precision], by_type: Mapping[str, Precision]
) -> Precision | None:
    """What a template says of a unit."""
    if unit.name in by_name:
        return by_name[unit.name]
    types = (units.graph.producers[member].op.name for member in unit.members)
    return next((by_type[type_] for type_ in types if type_ in by_type), None)
