"""A report in words: the verdict and readable numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Report

UNKNOWN = "\N{EN DASH}"
GRADES = ((30.0, "good", "very close to"), (20.0, "good", "close to"), (10.0, "fair", "some way from"))
"""The least output SQNR in dB of each verdict; below them all it is far from float."""


def verdict(report: Report) -> str:
    """The report in a sentence or two."""
    sqnr = report.output_sqnr_db
    if sqnr is None:
        accuracy = "No output was measured"
    elif sqnr == math.inf:
        accuracy = "The outputs equal the float network's"
    else:
        accuracy = f"The integers are {grade(sqnr)[1]} float: {decibels(sqnr)} SQNR at the output"
    worst = min(report.agreement.values(), key=lambda one: one.equal / one.rows, default=None)
    if worst is not None:
        accuracy += f", and the largest of {worst.classes:,} outputs is the same in {worst.equal} of {worst.rows}"
        accuracy += f" sample{'s' * (worst.rows != 1)}"
    host, layers, repairs = sum(layer.where == "host" for layer in report.layers), len(report.layers), report.repairs
    where = f"{host} of {layers} layers run on the host" if host else f"All {layers} layers run on the NPU"
    return (
        f"{accuracy}. {where if layers else 'There are no layers'}, "
        f"with {len(repairs) or 'no'} repair{'s' * (len(repairs) != 1)}. "
        f"The program is {bytes_text(report.program_bytes)} and takes an estimated {report.milliseconds:.3g} ms."
    )


def grade(sqnr: float | None) -> tuple[str, str]:
    """The class of the verdict for the style, and its words."""
    if sqnr is None:
        return "unknown", "not measured against"
    return next(((name, words) for least, name, words in GRADES if sqnr >= least), ("poor", "far from"))


def decibels(sqnr: float | None) -> str:
    """A ratio in dB, `exact` without noise, a dash where it was not measured."""
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
