"""A report in words: the verdict, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .contents import Contents

UNKNOWN = "\N{EN DASH}"
GRADES = ((30.0, "very close to"), (20.0, "close to"), (10.0, "some way from"))
"""The least output SQNR in dB of each verdict; what is below them all is far from float."""


def verdict(report: Contents) -> str:
    """The report in a sentence or two."""
    sqnr = report.output_sqnr_db
    parts = []
    if sqnr is None:
        parts.append("No output was measured")
    elif sqnr == math.inf:
        parts.append("The outputs equal the float network's")
    else:
        parts.append(f"The integers are {grade(sqnr)[1]} float: {decibels(sqnr)} SQNR at the output")
    agreed = min(report.agreement.values(), key=lambda one: one.equal / one.rows, default=None)
    if agreed is not None:
        parts[0] += f", and the largest of {agreed.classes:,} outputs is the same in {agreed.equal} of {agreed.rows}"
        parts[0] += f" sample{'s' * (agreed.rows != 1)}"
    host = sum(layer.where == "host" for layer in report.layers)
    layers = len(report.layers)
    where = f"{host} of {layers} layers run on the host" if host else f"All {layers} layers run on the NPU"
    parts.append(
        f"{where if layers else 'There are no layers'}, "
        f"with {len(report.repairs) or 'no'} repair{'s' * (len(report.repairs) != 1)}"
    )
    parts.append(
        f"The program is {bytes_text(report.program_bytes)} and takes an estimated {report.milliseconds:.3g} ms"
    )
    return ". ".join(parts) + "."


def grade(sqnr: float | None) -> tuple[str, str]:
    """The class of the verdict for the style, and its words."""
    if sqnr is None:
        return "unknown", "not measured against"
    for name, (least, words) in zip(("good", "good", "fair"), GRADES, strict=True):
        if sqnr >= least:
            return name, words
    return "poor", "far from"


def decibels(sqnr: float | None) -> str:
    """A ratio in dB, `exact` where there is no noise, a dash where there is no measure."""
    if sqnr is None:
        return UNKNOWN
    return "exact" if sqnr == math.inf else f"{sqnr:z.1f} dB"


def number(value: float | None) -> str:
    """A number in four digits."""
    return UNKNOWN if value is None else f"{value:.4g}"


def share(value: float) -> str:
    """A share in percent, never rounded down to none."""
    if value == 0:
        return "none"
    return f"{100 * value:.3g} %" if value >= 1e-6 else "less than 0.0001 %"


def bytes_text(size: float) -> str:
    """A number of bytes with a unit of a thousand."""
    return _scaled(size, (" B", " kB", " MB", " GB", " TB"))


def count_text(count: float) -> str:
    """A number with a letter for its thousands."""
    return _scaled(count, ("", " k", " M", " G", " T"))


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}{units[-1]}"
