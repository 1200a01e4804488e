"""The report as one HTML page: the template with style, script and pictures inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import figures
from .words import bytes_text, count_text, decibels, grade, number, share, verdict

if TYPE_CHECKING:
    from .report import Report

FOLDER = Path(__file__).parent


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
    error_labels = [
        f"{layer.name} ({layer.op}): {decibels(layer.sqnr_db)} accumulated, {decibels(layer.own_sqnr_db)} alone"
        for layer in report.layers
        if layer.sqnr_db is not None
    ]
    cost_labels = [f"{row.name} ({row.op}): {row.cycles:,} cycles, {row.bytes:,} bytes" for row in details.instructions]
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=verdict(report),
        grade=grade(report.output_sqnr_db),
        rows=report.worst_first,
        anchors={tensor.name: f"range-{index}" for index, tensor in enumerate(details.tensors)},
        most_cycles=max((layer.cycles for layer in report.layers), default=0),
        errors=Markup(figures.errors(report)),
        error_labels=json.dumps(error_labels, ensure_ascii=False),
        costs=Markup(figures.costs(details)),
        cost_labels=json.dumps(cost_labels, ensure_ascii=False),
        memory=Markup(figures.memory(details)),
        curve=Markup(figures.curve(report.curve)) if report.curve else "",
        histograms=list(zip(details.tensors, map(Markup, figures.histograms(details.tensors)), strict=True)),
        left=figures.LEFT,
        right=figures.RIGHT,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def sort_key(value: float | None) -> str:
    """A number as the page's script sorts it; unknown ones come last."""
    return "" if value is None else repr(min(max(float(value), -1e308), 1e308))
