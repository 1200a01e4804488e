"""The rows of a comparison that are shown, and their order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from npuq.ir import NpuqError

from .compare import Difference

KEYS = {
    "mean-relative": ("mean_relative", -1),
    "cosine": ("cosine", 1),
    "rmse": ("rmse", -1),
    "sqnr": ("sqnr_db", 1),
    "most-relative": ("most_relative", -1),
    "most-absolute": ("most_absolute", -1),
    "above": ("above", -1),
    "below": ("below", -1),
}
"""Each measure by its name on the command line, and the sign that brings the worst layer first."""


def selected(
    found: Sequence[Difference],
    *,
    sort: str = "mean-relative",
    ops: Sequence[str] = (),
    layers: Sequence[str] = (),
    indexes: Sequence[range] = (),
) -> list[Difference]:
    """The rows of these ops, names and indexes, by default all, sorted; raises `NpuqError` for a name that no row has.

    `sort` is a key of `KEYS`, with `alone-` before it for the layer alone, or `index` for the order of the program.
    """
    known = {"op": (ops, {row.op for row in found}), "layer": (layers, {row.name for row in found})}
    for kind, (wanted, there) in known.items():
        lacking = [name for name in wanted if name not in there]
        if lacking:
            raise NpuqError(f"no compared {kind} is called {lacking[0]!r}; there are {', '.join(sorted(there)[:20])}")
    rows = [row for row in found if not indexes or any(row.index in part for part in indexes)]
    if indexes and not rows:
        places = ", ".join(str(row.index) for row in found[:20])
        raise NpuqError(f"no compared layer is at these places of the reference; there are {places}")
    rows = [row for row in rows if (not ops or row.op in ops) and (not layers or row.name in layers)]
    require_measure(sort, alone=all(row.alone for row in rows))
    if sort == "index":
        return sorted(rows, key=lambda row: row.index)
    key = sort.removeprefix("alone-")
    measure, sign = KEYS[key]

    def worst(row: Difference) -> tuple[bool, float]:
        value = sign * float(getattr(row.accumulated if sort == key else row.alone, measure))
        return not math.isnan(value), value

    return sorted(rows, key=worst)


def require_measure(sort: str, *, alone: bool) -> None:
    """Raise `NpuqError` unless rows can be sorted by a measure; `alone`: whether layers were measured alone."""
    key = sort.removeprefix("alone-")
    if key not in KEYS and sort != "index":
        raise NpuqError(f"there is no measure {sort!r}; there are index, {', '.join(KEYS)}, each also as alone-NAME")
    if sort not in (key, "index") and not alone:
        raise NpuqError(f"{sort}: the layers were not measured alone; add --alone")


def index_ranges(text: str) -> list[range]:
    """Ranges from `0-7,12,17-`, both ends included; raises `NpuqError`."""
    found = []
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if not (low.isdecimal() and (high.isdecimal() or not high)):
            raise NpuqError(f"{text}: places in the program wanted, as in 0-7,12,17-")
        found.append(range(int(low), int(high) + 1 if high else 1 << 62 if dash else int(low) + 1))
    return found


def bands(text: str) -> tuple[float, ...]:
    """Rising borders from percents such as `1,10,50,100`; raises `NpuqError`."""
    try:
        borders = tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        borders = ()
    if not borders or list(borders) != sorted({border for border in borders if 0 < border < math.inf}):
        raise NpuqError(f"{text}: rising percents wanted, as in 1,10,50,100")
    return borders
