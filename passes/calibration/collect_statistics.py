"""Calibration as a pass: the data run once, and all statistics that later passes ask for come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from npuq.ir import Graph, NpuqError, text_digest

from ..conditions import is_float
from ..lowering.plan import EVERYWHERE, Channels, Held, observed_values, plan_of, weighted_inputs
from ..pipeline import FOUND, graph_pass
from ..precision import Precision, Precisions
from ..scales import Range
from ..target import Target
from .observe import Observer, observe
from .samples import Reservoir, Source, digest_of, read
from .statistics import Observed, load_observed

FEW = 8
"""The samples that are kept for measuring the program."""

SHOWN = 5
"""The most values that an error names."""

NO_RANGES: Mapping[Held, Range] = {}


def require_count(count: int) -> None:
    """Raise `NpuqError` unless so many samples can be kept."""
    if count < 0:
        raise NpuqError(f"count {count}: 0 samples or more wanted")


@graph_pass(
    "collect-statistics", requires=(is_float,), analyzes=True, gives=("statistics", "means", "samples", "exact")
)
def collect_statistics(
    graph: Graph,
    *,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
    data: Source | None = None,
    file: str | Path | None = None,
    observer: Observer | None = None,
    given: Mapping[Held, Range] = NO_RANGES,
    means: bool = True,
    inputs: bool = False,
    every_width: bool = False,
    count: Annotated[int, require_count] = FEW,
    progress: Callable[[int], None] | None = None,
) -> Mapping[str, Any]:
    """Run the calibration data through the float graph and collect the statistics of every value that gets a scale.

    Values whose ranges are `given` need none, except, with `inputs`, the graph's own inputs. `means` adds the means per
    channel that `correct-bias` wants, `every_width` all that a program of another width wants. `count` samples are
    kept. An `observer` of this graph replaces the data. If the `file` exists, the statistics are read from it and must
    be of this graph and these data; otherwise they are written to it.
    """
    values, channels = observed(graph, target, precision, every_width=every_width)
    channels = channels if means else []
    if given:
        held = plan_of(graph, target, precision).held
        measured = {*(graph.inputs if inputs and data is not None else ()), *(name for name, _ in channels)}
        unknown = {name for name, widths in held.items() if any((name, bits) not in given for bits in widths)}
        values = [name for name in values if name in measured | unknown]
    few = Reservoir(count)
    if observer is not None:
        statistics, few = observer.result(), observer.few
        _check(f"{graph.name}: the observer", statistics, graph, values)
        if file is not None and Path(file).exists():
            _read(file, graph, values, statistics.data_digest)
        elif file is not None:
            statistics.save(file)
    elif file is not None and Path(file).exists():
        digest = None if data is None else digest_of(few.pass_on(read(graph, data)))
        statistics = _read(file, graph, values, digest)
    elif data is not None:
        statistics = observe(graph, few.pass_on(read(graph, data)), values, means=channels, progress=progress)
        if file is not None:
            statistics.save(file)
    elif values:
        raise NpuqError(
            f"{graph.name}: no scale given for {_listed(values)}; give them, or data to calibrate with (--data)"
        )
    else:
        statistics = Observed({}, text_digest(graph), "", 0)
    return {"statistics": statistics, "means": statistics.means, "samples": few.samples, "exact": graph}


def _read(file: str | Path, graph: Graph, values: Sequence[str], digest: str | None) -> Observed:
    """The statistics of a file, which must be of this graph, of data with this digest, and have all values."""
    statistics = load_observed(file, text_digest(graph), digest)
    _check(str(file), statistics, graph, values)
    return statistics


def _check(place: str, statistics: Observed, graph: Graph, values: Sequence[str]) -> None:
    if statistics.graph_digest != text_digest(graph):
        raise NpuqError(f"{place}: statistics of another graph; calibrate again")
    missing = [name for name in values if name not in statistics]
    if missing:
        raise NpuqError(f"{place}: no statistics of {_listed(missing)}; calibrate again")


def observed(
    graph: Graph, target: Target, precision: Precisions, *, every_width: bool
) -> tuple[list[str], list[Channels]]:
    """The values and the (value, axis) of channels whose statistics a program wants, or one of any width."""
    widths = [Precisions(Precision(width.bits)) for width in target.widths] if every_width else []
    values = [name for each in (precision, *widths) for name in observed_values(graph, target, each)]
    return values, [one for each in (precision, *widths) for one in weighted_inputs(graph, target, each)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
