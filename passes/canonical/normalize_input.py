"""Insertion of the pixel normalization that a network's training data went through."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, DType, Graph, NpuqError, rewrite
from npuq.ir.ops.norm import BatchNorm

from ..conditions import is_float
from ..pipeline import graph_pass

Numbers = tuple[float, ...]


@graph_pass("normalize-input", requires=(is_float,))
def normalize_input(graph: Graph, *, mean: Numbers = (0.0,), std: Numbers = (1.0,)) -> Graph:
    """Compute (x - mean) / std after the first input, as a batch_norm on axis 1.

    `mean` and `std` hold one number per channel or one for all. Raises `NpuqError` where they do not fit the input.
    """
    if not graph.inputs:
        raise NpuqError(f"{graph.name}: no input to normalize")
    name, type_ = next(iter(graph.inputs.items()))
    place = f"{graph.name}: input %{name}"
    if type_.dtype is not DType.F32 or type_.rank < 2:
        raise NpuqError(f"{place}: {type_} cannot be normalized, f32[N,C,...] is wanted")
    channels = type_.shape[1]
    for option, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise NpuqError(f"{place}: {len(values)} numbers in {option}, 1 or {channels} (axis 1) wanted")
        if not np.all(np.isfinite(values)):
            raise NpuqError(f"{place}: {option} {values} holds a number that is not finite")
    if not all(number > 0 for number in std):
        raise NpuqError(f"{place}: std {std} must be greater than 0")
    return _insert(graph, name, np.resize(mean, channels), np.resize(std, channels))


def _insert(graph: Graph, name: str, mean: np.ndarray, std: np.ndarray) -> Graph:
    """Let everything that reads the input read a batch_norm of it."""
    ones = np.ones(std.shape)
    parameters: dict[str, np.ndarray] = {"scale": 1 / std, "offset": 0 * ones, "mean": mean, "variance": ones}

    def normalized(builder: Builder, value: str) -> str:
        if value != name:
            return value
        constants = (builder.constant(array.astype(np.float32), f"{name}.{part}") for part, array in parameters.items())
        return builder.add(BatchNorm(epsilon=0.0), value, *constants, name=f"{name}.normalized")

    return rewrite(graph, lambda builder, node, operands: None, entry=normalized)
