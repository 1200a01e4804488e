"""Two versions of a network on the same data, value by value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from npuq.backends.edge import to_edge
from npuq.ir import DType, Graph, NpuqError, TensorType, evaluate
from npuq.ir.ops.quant import Dequantize, Quantize

BANDS = (0.0, 0.01, 0.1, 0.5, 1.0, math.inf)
"""The borders of the classes of relative errors, each class without its upper border."""

SMALL = 1e-6
"""References of at most this magnitude do not count in the greatest relative and absolute error."""


@dataclass(frozen=True)
class Difference:
    """How far the tested values r of one layer are from the reference l, over all samples.

    `mean_relative` = sum |r - l| / sum |l|; `cosine` = 50 + 50 cos(l, r), in percent; `rmse` = sqrt(sum (r - l)^2 /
    sum l^2); `most_relative` and `most_absolute` are the greatest |r - l| / |l| and |r - l| where |l| > 1e-6; `above`
    and `below` are the shares of r > l and r < l; `bands` the shares of elements whose relative error is below 1 %,
    10 %, 50 %, 100 %, or not.

    0/0 is 0, since nothing is wrong where both are zero, and x/0 is infinite. The cosine of two zero tensors is 1, of
    a zero and another one 0.
    """

    name: str
    op: str
    elements: int
    mean_relative: float
    cosine: float
    rmse: float
    most_relative: float
    most_absolute: float
    above: float
    below: float
    bands: tuple[float, ...]


@dataclass
class Tally:
    """The running sums of one layer: memory does not grow with the samples."""

    elements: int = 0
    error: float = 0.0
    reference: float = 0.0
    squared_error: float = 0.0
    squared_reference: float = 0.0
    squared_tested: float = 0.0
    product: float = 0.0
    most_relative: float = 0.0
    most_absolute: float = 0.0
    above: int = 0
    below: int = 0
    bands: np.ndarray = field(default_factory=lambda: np.zeros(len(BANDS) - 1, np.int64))

    def add(self, reference: np.ndarray, tested: np.ndarray) -> None:
        """Count one pair of arrays of the same shape."""
        left, right = reference.astype(np.float64).ravel(), tested.astype(np.float64).ravel()
        error, size = np.abs(right - left), np.abs(left)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(error == 0, 0.0, error / size)
        self.elements += left.size
        self.error += float(error.sum())
        self.reference += float(size.sum())
        self.squared_error += float(error @ error)
        self.squared_reference += float(left @ left)
        self.squared_tested += float(right @ right)
        self.product += float(left @ right)
        counted = size > SMALL
        self.most_relative = max(self.most_relative, float(relative[counted].max(initial=0.0)))
        self.most_absolute = max(self.most_absolute, float(error[counted].max(initial=0.0)))
        self.above += int((right > left).sum())
        self.below += int((right < left).sum())
        self.bands += [int(((low <= relative) & (relative < high)).sum()) for low, high in pairwise(BANDS)]
        self.bands[-1] += int((~(relative < math.inf)).sum())

    def difference(self, name: str, op: str) -> Difference:
        """The measures of what was counted."""
        count = max(self.elements, 1)
        return Difference(
            name,
            op,
            self.elements,
            _ratio(self.error, self.reference),
            50 + 50 * self.cosine,
            math.sqrt(_ratio(self.squared_error, self.squared_reference)),
            self.most_relative,
            self.most_absolute,
            self.above / count,
            self.below / count,
            tuple(float(share) / count for share in self.bands),
        )

    @property
    def cosine(self) -> float:
        if self.squared_reference == 0 or self.squared_tested == 0:
            return float(self.squared_reference == self.squared_tested)
        return self.product / math.sqrt(self.squared_reference) / math.sqrt(self.squared_tested)


def compare(
    reference: Graph,
    tested: Graph,
    samples: Iterable[Mapping[str, np.ndarray]],
    progress: Callable[[int], None] = lambda count: None,
) -> list[Difference]:
    """Measure every value that both graphs have by name, in the reference's order.

    The graphs may be of any level: where a value is quantized, its dequantized form is compared, and a value whose
    axes a backend has moved is moved back. Samples are batches by the reference's input names, any number of the
    graph's own; `progress` is told how many are done. Raises `NpuqError` where the inputs differ or no value is
    common to both.
    """
    _require_alike(reference, tested)
    names = [name for node in reference.nodes for name in node.results if _comparable(reference, tested, name)]
    if not names:
        raise NpuqError(f"{reference.name}, {tested.name}: no value has the same name and size in both")
    sides = [_Side(graph, [_as_used(graph, name) for name in names]) for graph in (reference, tested)]
    tallies = {name: Tally() for name in names}
    done = 0
    for sample in samples:
        for left, right in zip(*(side.run(list(sample.values())) for side in sides), strict=True):
            for name, one, other in zip(names, left, right, strict=True):
                tallies[name].add(one, _aligned(one, other))
            progress(done := done + 1)
    return [tally.difference(name, reference.producers[name].op.name) for name, tally in tallies.items()]


class _Side:
    """One graph as a function from a batch to the real values of the compared names, run by run."""

    def __init__(self, graph: Graph, values: list[str]) -> None:
        self.graph, self.types = graph, [graph.types[value] for value in values]
        self.function = evaluate(graph, values)

    def run(self, arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
        inputs, count = to_edge(self.graph, arrays)
        for index in range(count):
            sizes = [type_.shape[0] if type_.rank else 0 for type_ in self.graph.input_types]
            part = [
                array[index * size : (index + 1) * size] if size else array
                for array, size in zip(inputs, sizes, strict=True)
            ]
            results = map(np.asarray, self.function(*part))
            yield [_real(array, type_) for array, type_ in zip(results, self.types, strict=True)]


def _require_alike(reference: Graph, tested: Graph) -> None:
    shapes = [[type_.shape for type_ in graph.input_types] for graph in (reference, tested)]
    if shapes[0] != shapes[1]:
        sides = (f"{graph.name} takes {', '.join(map(str, graph.input_types))}" for graph in (reference, tested))
        raise NpuqError(f"the inputs differ: {', '.join(sides)}")


def _comparable(reference: Graph, tested: Graph, name: str) -> bool:
    """Whether both graphs compute a value of this name, of the same size and not of truth values."""
    if name not in reference.producers or name not in tested.producers:
        return False
    one, other = reference.types[name], tested.types[name]
    orders = [tuple(one.shape[axis] for axis in order) for order in _orders(one.rank)]
    return other.shape in orders and DType.BOOL not in (one.dtype, other.dtype)


def _as_used(graph: Graph, name: str) -> str:
    """The value that stands for a name: behind its quantize/dequantize pair where only the pair reads it."""
    user = graph.only_user(name) if name not in graph.returned else None
    if user is None or not isinstance(user.op, Quantize):
        return name
    readers = [node for node in graph.users[user.result] if isinstance(node.op, Dequantize)]
    return readers[0].result if readers else name


def _real(array: np.ndarray, type_: TensorType) -> Any:
    """The real numbers that an array stands for."""
    if type_.quant is None:
        return array.astype(np.float64)
    quant = type_.quant
    shape = [-1 if axis == quant.axis else 1 for axis in range(type_.rank)]
    return (array - np.reshape(np.asarray(quant.zero_points, np.float64), shape)) * np.reshape(quant.scales, shape)


def _aligned(reference: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """The tested array with its axes in the reference's order; where several orders fit, the nearest one is meant."""
    moved = (tested.transpose(np.argsort(order)) for order in _orders(tested.ndim))
    fitting = [array for array in moved if array.shape == reference.shape]
    return min(fitting, key=lambda array: float(np.abs(array - reference).sum()))


def _orders(rank: int) -> list[tuple[int, ...]]:
    """The orders that axes may have been brought into: none other, channels last, channels first."""
    axes = tuple(range(rank))
    return [axes] if rank < 3 else [axes, (0, *axes[2:], 1), (0, rank - 1, *axes[1:-1])]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf if part else 0.0
