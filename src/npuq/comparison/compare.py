"""Two versions of a network on the same data, value by value: with the errors of all layers before, and alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from npuq.backends.simulator import to_edge
from npuq.ir import DType, Graph, NpuqError, TensorType
from npuq.ir.ops.quant import Dequantize, to_float64, to_integers

from .dump import Dump, part
from .measures import BANDS, Measures, Tally, plain
from .sides import Arrays, DumpSide, GraphSide, Layer, Side, recorded_inputs, samples_of

Progress = Callable[[int], None]
"""It gets the number of samples that are done."""
Order = tuple[int, ...]
Samples = Iterable[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Difference(Layer):
    """The error of a tested layer against the reference's, at `index` there, over all samples.

    `accumulated` measures the network as it runs, `alone` the layer on the reference's values, as integers.
    """

    accumulated: Measures
    alone: Measures | None = None


@dataclass(frozen=True)
class Pair:
    """A value of both sides by its names; `order` has its axes in the tested one, `least` bounds the reference's."""

    name: str
    tested: str
    order: Order | None = None
    least: float | None = None


def compare(
    reference: Graph | Dump,
    tested: Graph | Dump,
    samples: Samples | None = None,
    *,
    alone: bool = False,
    bands: Sequence[float] = BANDS,
    progress: Progress = lambda count: None,
) -> list[Difference]:
    """Measure every value that both sides have by name, in the reference's order.

    Graphs may be of any level; quantized values are dequantized, moved axes moved back. Samples are batches by input
    name; by default a dump's own inputs. With `alone` each layer of a tested graph is measured by itself, too. Raises
    `NpuqError` where the inputs differ or no value is common to both.
    """
    one, other = sides(reference, tested)
    pairs = [
        Pair(name, name) for name in one.layers if name in other.layers and _alike(one.type(name), other.type(name))
    ]
    if not pairs:
        raise NpuqError(f"{one.name}, {other.name}: no value has the same name and size in both")
    return differences(one, other, pairs, runs(reference, tested, samples), alone=alone, bands=bands, progress=progress)


def differences(
    reference: Side,
    tested: Side,
    pairs: Sequence[Pair],
    runs: Iterable[tuple[Arrays, Arrays]],
    *,
    alone: bool,
    bands: Sequence[float] = BANDS,
    tap: Callable[[Arrays, Arrays], None] = lambda exact, found: None,
    progress: Progress = lambda count: None,
) -> list[Difference]:
    """Measure pairs of values over runs, the inputs of both sides; `tap` gets the reals of all pairs, run by run."""
    if alone and not isinstance(tested, GraphSide):
        raise NpuqError(f"{tested.name}: a dump cannot be run, so its layers cannot be measured alone")
    types = [reference.type(pair.name) for pair in pairs]
    values = [Value(tested, pair) for pair in pairs]
    read_reference = reference.reader([pair.name for pair in pairs])
    read_tested = tested.reader([pair.tested for pair in pairs])
    accumulated, isolated = ([Tally(tuple(bands)) for _ in pairs] for _ in range(2))
    for index, (left, right) in enumerate(runs):
        exact = [
            numbers if pair.least is None else np.maximum(numbers, np.asarray(pair.least, numbers.dtype))
            for pair, numbers in zip(pairs, map(real, read_reference(index, left, ()), types), strict=True)
        ]
        found = list(map(Value.aligned, values, read_tested(index, right, ()), exact))
        for tally, one, other in zip(accumulated, exact, found, strict=True):
            tally.add(one, other)
        tap(exact, found)
        if alone:
            operands = list(map(Value.encoded, values, exact))
            for value, tally, one, array in zip(
                values, isolated, exact, read_tested(index, right, operands), strict=True
            ):
                tally.add(one, value.aligned(array, one))
        progress(index + 1)
    return [
        Difference(
            **asdict(reference.layers[pair.name]),
            accumulated=total.measures,
            alone=own.measures if alone else None,
        )
        for pair, total, own in zip(pairs, accumulated, isolated, strict=True)
    ]


def to_json(found: Sequence[Difference]) -> str:
    """Rows as JSON; infinity and NaN are null."""
    return json.dumps(plain(found), indent=2) + "\n"


def sides(reference: Graph | Dump, tested: Graph | Dump) -> tuple[Side, Side]:
    """Both sides; raises `NpuqError` for graphs whose inputs have different shapes."""
    if isinstance(reference, Graph) and isinstance(tested, Graph):
        graphs = (reference, tested)
        shapes = [[type_.shape for type_ in graph.input_types] for graph in graphs]
        if shapes[0] != shapes[1]:
            takes = (f"{graph.name} takes {', '.join(map(str, graph.input_types))}" for graph in graphs)
            raise NpuqError(f"the inputs differ: {', '.join(takes)}")
    return _side(reference, tested), _side(tested, reference)


def _side(network: Graph | Dump, other: Graph | Dump) -> Side:
    if isinstance(network, Graph):
        return GraphSide(network)
    return DumpSide(network, other.types)


def runs(reference: Graph | Dump, tested: Graph | Dump, samples: Samples | None) -> Iterator[tuple[Arrays, Arrays]]:
    """The inputs of both sides, run by run: from samples, or from the inputs that a dump was made with."""
    graphs = [side for side in (reference, tested) if isinstance(side, Graph)]
    dumps = [side for side in (reference, tested) if isinstance(side, Dump)]
    if not graphs:
        yield from (([], []) for _ in range(min(map(samples_of, dumps))))
        return
    if samples is None and not dumps:
        raise NpuqError(f"{graphs[0].name}, {graphs[1].name}: no data; give --data")
    batches: Iterable[Sequence[np.ndarray]] = (
        recorded_inputs(dumps[0], graphs[0].inputs)
        if samples is None
        else ([batch[name] for name in graphs[0].inputs] for batch in samples)
    )
    for batch in batches:
        typed = {id(graph): to_edge(graph, batch) for graph in graphs}
        for index in range(min(count for _, count in typed.values())):
            left, right = (
                part(side, typed[id(side)][0], index) if isinstance(side, Graph) else [] for side in (reference, tested)
            )
            yield left, right


class Value:
    """A compared value of the tested side; where its pair has no order of axes, the first array decides it."""

    def __init__(self, side: Side, pair: Pair) -> None:
        self.side, self.name, self.order = side, pair.tested, pair.order
        self.type = side.type(pair.tested)

    def aligned(self, array: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The real numbers of an array, their axes in the reference's order."""
        numbers = real(array, self.type)
        if self.order is None:
            self.order = nearest_order(reference, numbers)
        return numbers.transpose(np.argsort(self.order))

    def encoded(self, exact: np.ndarray) -> np.ndarray:
        """Real numbers of the reference as the readers of this value take them."""
        assert self.order is not None
        assert isinstance(self.side, GraphSide)
        graph, used = self.side.graph, self.side.used(self.name)
        moved, producer = exact.transpose(self.order), graph.producers[used]
        if isinstance(producer.op, Dequantize):
            integers = _integers(graph, producer.operands[0], moved)
            return real(integers, graph.types[producer.operands[0]]).astype(self.type.dtype.numpy)
        return moved.astype(self.type.dtype.numpy) if self.type.quant is None else _integers(graph, used, moved)


def nearest_order(reference: np.ndarray, tested: np.ndarray) -> Order:
    """The order that the axes of `reference` have in `tested`; where several fit, that of the nearest array."""
    fitting = [order for order in orders(tested.ndim) if reference.transpose(order).shape == tested.shape]
    if len(fitting) == 1:
        return fitting[0]
    return min(fitting, key=lambda order: float(np.abs(reference.transpose(order) - tested).sum()))


def orders(rank: int) -> list[Order]:
    """The orders that a backend may give to axes: unchanged, channels last, channels first."""
    axes = tuple(range(rank))
    return [axes] if rank < 3 else [axes, (0, *axes[2:], 1), (0, rank - 1, *axes[1:-1])]


def real(array: np.ndarray, type_: TensorType) -> np.ndarray:
    """The array, dequantized in float64 if its type has a scale."""
    return array if type_.quant is None else to_float64(array, type_.quant)


def _integers(graph: Graph, name: str, numbers: np.ndarray) -> np.ndarray:
    """Numbers as the integers of a value, saturated as its own op does."""
    type_, producer = graph.types[name], graph.producers.get(name)
    assert type_.quant is not None
    limits = [getattr(producer.op, side, None) if producer else None for side in ("low", "high")]
    low, high = (limit if isinstance(limit, int) else end for limit, end in zip(limits, type_.dtype.range, strict=True))
    integers: np.ndarray = to_integers(numbers.astype(np.float64), type_.quant, low, high)
    return integers.astype(type_.dtype.numpy)


def _alike(one: TensorType, other: TensorType) -> bool:
    """Whether two values have the same size in some order of axes, and neither holds truth values."""
    shapes = [tuple(one.shape[axis] for axis in order) for order in orders(one.rank)]
    return other.shape in shapes and DType.BOOL not in (one.dtype, other.dtype)
