"""The public functions: load, evaluate, quantize, and what quantize gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import jax
import numpy as np

from npuq import frontends
from npuq.backends.npu import Program
from npuq.backends.target import load_target
from npuq.ir import Graph, Quantization, evaluate
from npuq.passes.calibrate import observe as gather_statistics
from npuq.passes.canonicalise import canonicalise
from npuq.passes.insert_fake_quant import insert_fake_quant, observed_values
from npuq.passes.lower_to_integer import Lowered, lower_to_integer, lowered
from npuq.passes.normalize_input import normalize_input
from npuq.passes.pipeline import Observe, chain
from npuq.passes.scales import Range
from npuq.passes.statistics import Statistics
from npuq.passes.target import Target
from npuq.passes.thresholds import thresholds

from .report import Report, make_report

Data = Any
Progress = Callable[[str, int, int | None], None]
METHODS = ("min_max", "percentile", "mse", "kl", "kl_v2")
REPORT_SAMPLES = 8


def load(source: str | PathLike[str] | Any, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Import a model as a float graph.

    `source` is an ONNX file or `ModelProto`; `shapes` gives the shapes of inputs that the model leaves open. Raises
    `NpuqError` where the file is damaged, an operator is unknown, or a shape is missing.
    """
    return frontends.load(source, shapes)


def quantize(
    graph: Graph,
    data: Data,
    *,
    target: str | Target = "npu",
    method: str = "kl",
    percentile: float = 0.99999,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Turn a float graph into an exact integer program for a target.

    `data` calibrates: an array [samples, ...] for a single input, a dict of arrays by input name, a tuple in the
    order of the inputs, or an iterable of these, as many samples as you like (memory does not grow). `method` is one
    of min_max, percentile, mse, kl, kl_v2; graph outputs always take min_max, so that no logit saturates. `mean` and
    `std` insert (x - mean) / std after the first input. `observe(index, pass, graph)` sees the graph after each pass.

    The result depends on nothing but the graph, the set of samples and the options: not on their order, batch
    size or the number of devices.
    """
    chosen = target if isinstance(target, Target) else load_target(target)
    prepare = chain(canonicalise())
    if mean is not None or std is not None:
        prepare = chain(normalize_input(mean=tuple(mean or (0.0,)), std=tuple(std or (1.0,))), canonicalise())
    float_graph = prepare(graph, observe=observe)
    kept = _FirstSamples(data, REPORT_SAMPLES)
    statistics = gather_statistics(float_graph, kept, observed_values(float_graph, chosen), progress=progress)
    ranges = choose_ranges(float_graph, statistics, chosen, method, percentile)
    finish = chain(insert_fake_quant(ranges=ranges, target=chosen))
    qdq = finish(float_graph, observe=_later(observe, len(prepare.passes)))
    integers = lowered(qdq, chosen)
    if observe is not None:
        observe(len(prepare.passes) + 1, lower_to_integer(target=chosen), integers.graph)
    return Quantized(float_graph, qdq, integers, chosen, statistics, ranges, tuple(kept.samples))


def choose_ranges(
    graph: Graph, statistics: Mapping[str, Statistics], target: Target, method: str, percentile: float
) -> dict[str, Range]:
    """The (low, high) of every observed value by a calibration method."""
    return {
        name: thresholds(
            gathered,
            "min_max" if name in graph.returned else method,
            bits=target.activation_dtype.bits,
            symmetric=target.symmetric,
            percentile=percentile,
        )
        for name, gathered in statistics.items()
    }
