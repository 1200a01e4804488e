"""The tables that commands print, and their progress."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from npuq.check import Verdict
    from npuq.comparison.compare import Difference
    from npuq.mixing.assign import Assignment
    from npuq.passes.target import Target
    from npuq.report.report import Report

SHOWN = 20
"""The rows that a long table shows unless all are asked for."""

WIDE = 160
"""The width of tables in a file or a pipe."""


def console() -> Console:
    """Standard output, wide where it is no terminal."""
    # Names are the user's own: nothing in them is markup.
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


@contextmanager
def steps() -> Iterator[Steps]:
    """Show the progress of a long command on standard error, if that is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(30), MofNCompleteColumn())
    screen = Console(stderr=True)
    silent = not screen.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, disable=silent) as bar:
        yield Steps(bar)


class Steps:
    """The current step of a long command."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task = bar.add_task("", total=None)

    def start(self, text: str, total: int | None = None) -> None:
        """Begin a step; `total` is its number of samples, if known."""
        self.bar.reset(self.task, description=text, total=total)

    def at(self, text: str, count: int, total: int) -> None:
        """Show a step, and how much of it is done; a total of 0 is unknown."""
        self.bar.update(self.task, description=text, completed=count, total=total or None)

    def done(self, count: int) -> None:
        """Show how many samples are done."""
        self.bar.update(self.task, completed=count)


def layers(report: Report, limit: int | None = SHOWN) -> Group:
    """The verdict on a quantized network and its layers, the noisiest first; notes where there are any."""
    from npuq.report.words import bytes_text, count_text, verdict

    shown = report.worst_first[:limit]
    noted = any(layer.reason or layer.notes for layer in shown)
    table = _table(f"layer|op|type|>SQNR dB|>alone dB|>cosine|>scale|>MACs|>bytes|>cycles{'|notes' * noted}")
    for layer in shown:
        notes = "; ".join((f"host: {layer.reason}", *layer.notes) if layer.reason else layer.notes)
        table.add_row(
            layer.name,
            layer.op,
            layer.dtype,
            _decibels(layer.sqnr_db),
            _decibels(layer.own_sqnr_db),
            "" if layer.cosine is None else f"{layer.cosine:.5f}",
            "" if layer.scale is None else f"{layer.scale:.3g}",
            count_text(layer.macs),
            bytes_text(layer.bytes),
            count_text(layer.cycles),
            *([notes] if noted else []),
            style="yellow" if layer.where == "host" else "",
        )
    title = Text(f"{report.graph} on {report.target}, {report.method} over {report.samples} samples", "bold")
    totals = (
        f"{count_text(report.macs)} MACs, {count_text(report.cycles)} cycles{_rest(len(shown), len(report.layers))}"
    )
    return Group(title, verdict(report), "", table, totals)


def assignment(found: Assignment) -> Group:
    """The curve of a mixed-precision assignment, the chosen point marked, and the share of wide ops."""
    table = _table("|>ratio|>narrow ops %|>saved %|>predicted dB|>measured dB|>cycles|>constant bytes")
    for choice in found.curve:
        table.add_row(
            ">" if choice == found.chosen else "",
            f"{choice.ratio:.3f}",
            f"{100 * choice.narrow_ops:.1f}",
            f"{100 * choice.saved:.1f}",
            _decibels(choice.predicted_db),
            _decibels(choice.measured_db),
            "" if choice.cycles is None else f"{choice.cycles:,}",
            "" if choice.constant_bytes is None else f"{choice.constant_bytes:,}",
        )
    share = f"{found.strategy}: {100 * found.wide_ops:.1f} % of {len(found.ops)} ops are wide"
    return Group(*((table,) if found.curve else ()), *found.notes, share)


def differences(found: Sequence[Difference], bands: Sequence[float], limit: int | None = SHOWN) -> Group:
    """Layers of two compared networks in the order given."""
    edges = [0.0, *(100 * border for border in bands)]
    classes = "|".join(f">{low:g}-{high:g}" for low, high in pairwise(edges)) + f"|>{edges[-1]:g}+"
    alone = "|>alone dB" * any(row.alone for row in found)
    table = _table(f"layer|op|>SQNR dB{alone}|>mean rel.|>cosine %|>rmse|>most rel.|>most abs.|>above|>below|{classes}")
    shown = found[:limit]
    for difference in shown:
        one = difference.accumulated
        table.add_row(
            difference.name,
            difference.op,
            _decibels(one.sqnr_db),
            *([_decibels(difference.alone.sqnr_db)] if difference.alone else []),
            *(f"{one.mean_relative:.4g}", f"{one.cosine:.4f}", f"{one.rmse:.4g}"),
            *(f"{one.most_relative:.4g}", f"{one.most_absolute:.4g}"),
            *(f"{100 * share:.1f}" for share in (one.above, one.below, *one.bands)),
        )
    return Group(table, f"shares of elements in percent{_rest(len(shown), len(found))}")


def verdict(found: Verdict, name: str, target: str) -> Group:
    """All problems of a model, or where its layers will run."""
    if found.problems:
        table = _table(">nodes|operator|where|problem|what to do")
        for problem in found.problems:
            table.add_row(str(problem.count), problem.operator, _places(problem.nodes), problem.reason, problem.remedy)
        return Group(f"{name}: {len(found.problems)} problem{'s' * (len(found.problems) > 1)}", table)
    table = _table(">layers|op|runs on|where|why")
    for group in found.groups:
        host = group.where == "host"
        table.add_row(
            str(len(group.places)),
            group.op,
            Text(group.where, "yellow" if host else ""),
            _places(group.places) if host else "",
            group.reason,
        )
    total = sum(len(group.places) for group in found.groups)
    return Group(
        table, f"{name}: {total - found.on_host} of {total} layers run on {target}, {found.on_host} on the host"
    )


def targets(found: Iterable[Target]) -> Table:
    """Targets with their numbers."""
    table = _table("target|activations|weights|>accumulator|rounding|>MACs/cycle|>MHz|>GB/s|>SRAM KiB|what it is")
    for target in found:
        table.add_row(
            target.name,
            "\n".join(
                f"{width.activation_dtype} {'symmetric' if width.symmetric else 'with zero point'}"
                for width in target.widths
            ),
            "\n".join(f"{', '.join(width.weight_dtypes)} per {target.weight_granularity}" for width in target.widths),
            "\n".join(f"{width.accumulator_bits} bit" for width in target.widths),
            target.rounding,
            *(f"{target.macs_per_cycle:,}", f"{target.clock_mhz:g}", f"{target.bandwidth_gb_s:g}"),
            f"{target.sram_bytes / 1024:g}",
            target.description,
        )
    return table


def passes(found: Iterable[tuple[str, str, str]]) -> Table:
    """Passes with their first sentences and options."""
    table = _table("pass|what it does|options")
    for row in found:
        table.add_row(*map(Text, row))
    return table


def _table(columns: str) -> Table:
    """An empty table; a `>` before a column's name puts its cells to the right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns.split("|"):
        right = name.startswith(">")
        # Only names and sentences are wrapped on a narrow screen.
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _rest(shown: int, count: int) -> str:
    return f"; {count - shown} more layers with --all" if shown < count else ""


def _places(places: Sequence[str]) -> str:
    """Up to three places, and how many more there are."""
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(places[:3]) + more


def _decibels(sqnr: float | None) -> str:
    if sqnr is None:
        return ""
    return "exact" if math.isinf(sqnr) and sqnr > 0 else f"{sqnr:z.1f}"
