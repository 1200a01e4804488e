"""The pictures of the report as SVG, drawn by matplotlib.

Matplotlib draws in stand-in colours; `svg` replaces them by the page's CSS variables, for light and dark pages.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .words import bytes_text, count_text

if TYPE_CHECKING:
    from .curve import CurvePoint
    from .report import Details, Report, Tensor

COLOURS = ("ink", "muted", "line", "paper", "accent", "soft", "warn")
VARIABLES = {f"#{f'{index:02}' * 3}": f"var(--{name})" for index, name in enumerate(COLOURS, 1)}
INK, MUTED, LINE, PAPER, ACCENT, SOFT, WARN = VARIABLES
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "npuq",
    "font.size": 8,
    "font.family": "sans-serif",
    "text.color": MUTED,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}
LEGEND: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "ncols": 2,
    "frameon": False,
    "borderpad": 0,
    "handlelength": 1.2,
}
WIDTH, HEIGHT = 9.0, 2.9
LEFT, RIGHT = 0.062, 0.985
"""The sides of a wide picture's axes, by which the page's script finds the layer under a pointer."""


def errors(report: Report) -> str:
    """SQNR per layer in the order of execution: accumulated as a line, alone as dots."""
    measured = [layer for layer in report.layers if layer.sqnr_db is not None]
    shown = [
        [np.nan if value is None else value for value in column]
        for column in zip(*((layer.sqnr_db, layer.own_sqnr_db) for layer in measured), strict=True)
    ] or [[], []]
    finite = [value for column in shown for value in column if math.isfinite(value)] or [0.0]
    # A few nearly exact layers are drawn at the upper edge, so that the others keep their distances.
    top, bottom = min(max(finite), float(np.quantile(finite, 0.9)) + 15), min(finite)
    known, own = (np.clip(column, bottom, top) for column in shown)
    with _wide("SQNR in dB: higher is better", "layers in the order of execution") as (figure, axes):
        axes.vlines(range(len(known)), known, own, colors=LINE, linewidth=0.8)
        axes.plot(own, "o", ms=3, mfc=PAPER, mec=ACCENT, mew=0.9, label="alone")
        axes.plot(known, color=INK, linewidth=1.2, label="accumulated")
        axes.set_xlim(-0.5, max(len(known) - 0.5, 0.5))
        axes.set_ylim(min(0.0, bottom - 1) if bottom < 10 else bottom - 3, top + 3)
        axes.legend(**LEGEND)
        return svg(figure, "errors")


def costs(details: Details) -> str:
    """Cycles per instruction, coloured by what the instruction waits for."""
    rows = details.instructions
    with _wide("cycles per instruction", "instructions in order") as (figure, axes):
        for bound, colour in (("compute", ACCENT), ("memory", WARN)):
            places = [index for index, row in enumerate(rows) if row.bound == bound]
            if places:
                heights = [rows[index].cycles for index in places]
                axes.bar(places, heights, 0.8, color=colour, label=f"waits for {bound}")
        axes.set_axisbelow(True)
        axes.set_xlim(-0.5, max(len(rows) - 0.5, 0.5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(value)))
        if rows:
            axes.legend(**LEGEND | {"handlelength": 0.8})
        return svg(figure, "costs")


def memory(details: Details) -> str:
    """Every value of the arena as a box, steps across and bytes upwards; the bytes in use as a line."""
    plan = details.plan
    steps = max((slot.last for slot in plan.slots), default=0) + 1
    alive = np.zeros(steps, np.int64)
    for slot in plan.slots:
        alive[slot.first : slot.last + 1] += slot.size
    boxes = [
        Rectangle((slot.first, slot.offset), slot.last + 1 - slot.first, slot.size) for slot in plan.slots if slot.size
    ]
    with _wide("the arena over time", "steps: inputs, instructions, outputs") as (figure, axes):
        axes.add_collection(PatchCollection(boxes, facecolor=SOFT, edgecolor=PAPER, linewidth=0.5))
        axes.stairs(alive, np.arange(steps + 1), baseline=None, color=INK, linewidth=1.1, label="bytes in use")
        axes.set_xlim(0, steps)
        top = max(plan.arena_size, 1)
        if plan.arena_size / 4 < details.sram_bytes < plan.arena_size * 1.5:
            axes.axhline(details.sram_bytes, color=WARN, linewidth=1, linestyle=(0, (4, 2)), label="the target's SRAM")
            top = max(top, details.sram_bytes)
        axes.set_ylim(0, top * 1.04)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        axes.legend(**LEGEND)
        return svg(figure, "memory")


def curve(points: Sequence[CurvePoint]) -> str:
    """The output SQNR of every choice of widths against the share of its wide ops: predicted, and measured."""
    wide = [100 * point.wide for point in points]
    predicted, measured = (
        [value if value is not None and math.isfinite(value) else np.nan for value in column]
        for column in zip(*((point.predicted_db, point.measured_db) for point in points), strict=True)
    )
    chosen = [index for index, point in enumerate(points) if point.chosen]
    with _wide("SQNR of the outputs in dB", "wide ops, %") as (figure, axes):
        if not np.isnan(predicted).all():
            axes.plot(wide, predicted, color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label="predicted")
        if not np.isnan(measured).all():
            axes.plot(wide, measured, "o-", ms=3.5, color=ACCENT, mfc=PAPER, linewidth=1.2, label="measured")
            axes.plot(
                [wide[at] for at in chosen], [measured[at] for at in chosen], "o", ms=5, color=WARN, label="chosen"
            )
        axes.margins(0.03, 0.12)
        axes.legend(**LEGEND | {"ncols": 3})
        return svg(figure, "curve")


def histograms(tensors: Sequence[Tensor]) -> list[str]:
    """Each tensor's histogram, logarithmic upwards, with the range of its integers: one canvas for all."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3, 0.9))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        represented = axes.stairs([0.0], [0.0, 1.0], fill=True, color=ACCENT)
        clipped = axes.stairs([0.0], [0.0, 1.0], fill=True, color=WARN)
        ends = [axes.axvline(0, color=INK, linewidth=0.9) for _ in range(2)]
        drawn = []
        for index, tensor in enumerate(tensors):
            counts, edges = np.asarray(tensor.counts), tensor.start + tensor.width * np.arange(len(tensor.counts) + 1)
            heights = np.log1p(counts) / max(math.log1p(int(counts.max(initial=0))), 1.0)
            half = tensor.scale / 2
            inside = (edges[1:] > tensor.low - half) & (edges[:-1] < tensor.high + half)
            represented.set_data(np.where(inside, heights, 0), edges)
            clipped.set_data(np.where(inside, 0, heights), edges)
            axes.set_xlim(edges[0], edges[-1])
            axes.set_ylim(0, 1.06)
            for line, at in zip(ends, (tensor.low, tensor.high), strict=True):
                line.set_xdata([at])
                line.set_visible(bool(edges[0] <= at <= edges[-1]))
            drawn.append(svg(figure, f"h{index}"))
        return drawn


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element for a page, its identifiers made unique by `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="patch_1">.*?</g>', "", text, count=1, flags=re.DOTALL)
    used = set(re.findall(r"url\(#(.*?)\)", text)) | set(re.findall(r'href="#(.*?)"', text))
    text = re.sub(r' id="(.*?)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"url\(#", f"url(#{name}-", re.sub(r'xlink:href="#', f'href="#{name}-', text))
    text = re.sub(r'<svg .*?viewBox="(.*?)".*?>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"(\d+\.\d\d)\d+", r"\1", text)
    return re.sub(r"\s*\n\s*", " ", text).replace("> <", "><").strip()


@contextmanager
def _wide(title: str, across: str) -> Iterator[tuple[Figure, Axes]]:
    """An empty picture as wide as the page; `across` names its horizontal axis."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.add_axes((LEFT, 0.14, RIGHT - LEFT, 0.75))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.patch.set_visible(False)
        axes.grid(axis="y")
        axes.set_title(title, loc="left", fontsize=8)
        axes.set_xlabel(across)
        yield figure, axes
