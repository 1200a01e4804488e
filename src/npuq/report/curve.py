"""The curve of a mixed-precision assignment, which the report draws, and its file.

    {"format": "npuq-curve", "version": 1,
     "points": [{"wide": 0.5, "predicted_db": ..., "measured_db": ..., "cycles": ..., "chosen": true}, ...]}

Figures that were not measured, or are infinite, are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from npuq.comparison.measures import plain
from npuq.ir.errors import NpuqError, one_line

FORMAT = "npuq-curve"
VERSION = 1


@dataclass(frozen=True)
class CurvePoint:
    """One choice of widths: the share of wide ops, the output SQNR, predicted and measured, and the cycles."""

    wide: float
    predicted_db: float | None
    measured_db: float | None
    cycles: int | None
    chosen: bool


NAMES = [field.name for field in fields(CurvePoint)]


def curve_json(curve: Sequence[CurvePoint]) -> str:
    """The text of a curve's file."""
    return json.dumps(plain({"format": FORMAT, "version": VERSION, "points": curve}), indent=1) + "\n"


def read_curve(text: str, place: str) -> tuple[CurvePoint, ...]:
    """The curve of a file's text; raises `NpuqError`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NpuqError(f"{place}: no curve: {one_line(error)}") from None
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise NpuqError(f"{place}: no curve: {FORMAT} of version {VERSION} wanted, as npuq template --curve writes it")
    rows = content.get("points")
    if not isinstance(rows, list) or not rows or not all(map(_is_point, rows)):
        raise NpuqError(f"{place}: damaged: points with {', '.join(NAMES)} wanted")
    return tuple(CurvePoint(**row) for row in rows)


def _is_point(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == set(NAMES)
        and isinstance(row["chosen"], bool)
        and _is_number(row["wide"])
        and all(row[name] is None or _is_number(row[name]) for name in ("predicted_db", "measured_db", "cycles"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
