"""A check that an imported graph computes what the original model computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from npuq import frontends
from npuq.frontends import Options
from npuq.frontends.reference import Arrays, Original
from npuq.ir import Graph, NpuqError, evaluate
from npuq.passes.calibration.samples import Data, samples

SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """The greatest difference of an output from the original's, and that as a share of the output's range."""

    output: str
    greatest: float
    share: float

    def __str__(self) -> str:
        return f"{self.output}: differs by at most {self.greatest:.2g}, {self.share:.2g} of its range"


def verify_import(
    graph: Graph,
    source: Any,
    data: Data | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    channels_first: bool = False,
    tolerance: float | None = None,
    **options: Unpack[Options],
) -> tuple[Difference, ...]:
    """Run an imported graph and the source that it was loaded from, and give the difference of each output.

    `data` is as `npuq.quantize` takes it, random numbers by default; the rest is as for `npuq.load`. The reference is
    the framework itself, onnxruntime for ONNX, OpenCV for Caffe. Raises `NpuqError` where it is not installed, and
    where a difference exceeds `tolerance`, a share of the output's range, by default the reference's own; the error
    names the first layer that differs.
    """
    reference = reference_of(source, shapes, channels_first=channels_first, **options)
    return compare_with_original(graph, reference, data, tolerance=tolerance)


def reference_of(
    source: Any, shapes: Mapping[str, Sequence[int]] | None, *, channels_first: bool, **options: Unpack[Options]
) -> Original:
    """The framework itself as the reference of a network, which may have been loaded with `channels_first`."""
    reference = frontends.original(source, shapes, **options)
    if not channels_first:
        return reference

    def turned(arrays: Arrays) -> Arrays:
        return {name: np.moveaxis(array, 1, -1) if array.ndim == 4 else array for name, array in arrays.items()}

    inside = reference.inside
    return replace(
        reference,
        run=lambda arrays: reference.run(turned(arrays)),
        inside=None if inside is None else lambda graph, arrays: inside(graph, turned(arrays)),
    )


def compare_with_original(
    graph: Graph, original: Original, data: Data | None = None, *, tolerance: float | None = None
) -> tuple[Difference, ...]:
    """Run both and give the difference of each output, as `verify_import` does."""
    tolerance = original.tolerance if tolerance is None else tolerance
    run = evaluate(graph)
    greatest: dict[str, Difference] = {}
    for inputs in _inputs(graph, data):
        theirs = _outputs(graph, original, inputs)
        for name, ours in zip(graph.outputs, map(np.asarray, run(*inputs.values())), strict=True):
            found = _difference(name, ours, theirs[name])
            if not found.share <= tolerance:
                raise NpuqError(
                    f"{graph.name}: {found}, {tolerance:.2g} allowed; "
                    f"{_first(graph, original, inputs, tolerance)} ({original.framework} is the reference)"
                )
            if name not in greatest or found.share > greatest[name].share:
                greatest[name] = found
    return tuple(greatest.values())


def _outputs(graph: Graph, original: Original, inputs: Arrays) -> Arrays:
    """The original's values of the graph's outputs, from its outputs or else from its layers."""
    theirs = original.run(inputs)
    if theirs.keys() >= graph.outputs.keys():
        return theirs
    inside = {} if original.inside is None else original.inside(graph, inputs)
    theirs = {name: inside[value] for name, value in graph.outputs.items() if value in inside} | dict(theirs)
    for name in graph.outputs.keys() - theirs.keys():
        raise NpuqError(f"{graph.name}: {original.framework} does not show {name!r}, so that it has no reference")
    return theirs


def _inputs(graph: Graph, data: Data | None) -> Iterator[Mapping[str, np.ndarray]]:
    """A few inputs by name, of the user's data or at random."""
    if data is not None:
        for sample, _ in zip(samples(graph, data), range(SAMPLES), strict=False):
            yield dict(zip(graph.inputs, map(np.asarray, sample), strict=True))
        return
    rng = np.random.default_rng(0)
    for _ in range(SAMPLES):
        # Integers are 0 or 1: every table has these rows.
        yield {
            name: (
                rng.standard_normal(type_.shape) if type_.dtype.is_float else rng.integers(0, 2, type_.shape)
            ).astype(type_.dtype.numpy)
            for name, type_ in graph.inputs.items()
        }


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    if ours.shape != theirs.shape:
        raise NpuqError(f"{name}: of shape {ours.shape}, the original gives {theirs.shape}")
    if not ours.size:
        return Difference(name, 0.0, 0.0)
    one, two = ours.astype(np.float64), theirs.astype(np.float64)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    greatest = float(np.where(same, 0.0, np.abs(one - two)).max())
    finite = two[np.isfinite(two)]
    range_ = float(np.ptp(finite)) if finite.size > 1 else 0.0
    return Difference(name, greatest, greatest / (range_ or float(np.abs(finite).max(initial=0.0)) or 1.0))


def _first(graph: Graph, original: Original, inputs: Mapping[str, np.ndarray], tolerance: float) -> str:
    """The first layer that differs, in words."""
    if original.inside is None:
        return f"{original.framework} does not show its layers"
    theirs = original.inside(graph, inputs)
    names = [name for node in graph.nodes for name in node.results if name in theirs]
    for name, ours in zip(names, evaluate(graph, names)(*inputs.values()), strict=True):
        array = np.asarray(ours)
        if array.shape != theirs[name].shape or not _difference(name, array, theirs[name]).share <= tolerance:
            return f"the first layer that differs is {graph.producers[name].place}"
    return "no layer before it differs"
