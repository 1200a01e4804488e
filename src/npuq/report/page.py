"""The report as one HTML page: the template with its style, script and pictures inside."""

from __future__ import annotations

import json
import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import figures
from .contents import Report
from .figures import bytes_text, count_text

FOLDER = Path(__file__).parent
UNKNOWN = "\N{EN DASH}"

GRADES = ((30.0, "very close to"), (20.0, "close to"), (10.0, "some way from"))
"""The least output SQNR in dB of each verdict; what is below them all is far from float."""


def page(report: Report) -> str:
    """Fill the template; the same report gives the same text."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        db=decibels, bytes=bytes_text, count=count_text, number=number, share=share, order=sort_key
    )
    details = report.details
    histograms = zip(details.tensors, map(Markup, figures.histograms(details.tensors)), strict=True)
    anchors = {tensor.name: f"range-{index}" for index, tensor in enumerate(details.tensors)}
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=verdict(report),
        grade=grade(report.output_sqnr_db),
        rows=report.worst_first,
        anchors=anchors,
        most_cycles=max((layer.cycles for layer in report.layers), default=0),
        errors=Markup(figures.errors(report)),
        error_labels=_labels(
            [
                f"{layer.name} ({layer.op}): {decibels(layer.sqnr_db)} accumulated, {decibels(layer.own_sqnr_db)} alone"
                for layer in report.layers
                if layer.sqnr_db is not None
            ]
        ),
        costs=Markup(figures.costs(details)),
        cost_labels=_labels(
            [f"{row.name} ({row.op}): {row.cycles:,} cycles, {row.bytes:,} bytes" for row in details.instructions]
        ),
        memory=Markup(figures.memory(details)),
        curve=Markup(figures.curve(report.curve)) if report.curve else "",
        histograms=list(histograms),
        left=figures.LEFT,
        right=figures.RIGHT,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def verdict(report: Report) -> str:
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
    parts.append(
        f"{f'{host} of {layers} layers run on the host' if host else f'All {layers} layers run on the NPU'}, "
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
    return "exact" if sqnr == math.inf else f"{sqnr:.1f} dB"


def number(value: float | None) -> str:
    """A number in four digits."""
    return UNKNOWN if value is None else f"{value:.4g}"


def share(value: float) -> str:
    """A share in percent, never rounded down to none."""
    if value == 0:
        return "none"
    return f"{100 * value:.3g} %" if value >= 1e-6 else "less than 0.0001 %"


def sort_key(value: float | None) -> str:
    """A number as the page's script sorts it; what is not known comes last."""
    return "" if value is None else repr(min(max(float(value), -1e308), 1e308))


def _labels(lines: list[str]) -> str:
    return json.dumps(lines, ensure_ascii=False)
