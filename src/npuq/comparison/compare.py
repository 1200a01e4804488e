"""Two versions of a network on the same data, value by value: with the errors of all layers before, and alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from npuq.backends.simulator import to_edge
from npuq.ir import DType, Graph, NpuqError, TensorType, evaluate_by_node
from npuq.ir.ops.quant import Dequantize, to_integers

from .dump import Dump, part
from .measures import BANDS, Measures, Tally, plain
from .sides import Arrays, DumpSide, GraphSide, Side, recorded_inputs, samples_of

Progress = Callable[[int], None]
Order = tuple[int, ...]
Samples = Iterable[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Difference:
    """How far a layer of the tested network is from the same layer of the reference, over all samples.

    `index` counts the reference's values. `accumulated` measures the tested network as it runs, `alone` the layer
    given the reference's values as operands, rounded and saturated to the integers that it reads; None where that was
    not asked for.
    """

    index: int
    name: str
    op: str
    place: str
    accumulated: Measures
    alone: Measures | None = None


@dataclass(frozen=True)
class Pair:
    """A value of both sides: its name in each, and its axes in the tested one, None where that is not known.

    Numbers of the reference below `least` count as it: nothing sees how low they are.
    """

    name: str
    tested: str
    order: Order | None = None
    least: float = -math.inf


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

    Graphs may be of any level: where a value is quantized, its dequantized form is compared, and a value whose axes a
    backend has moved is moved back. Samples are batches by input name, any number of the graph's own; without them a
    dump's own inputs are taken. `progress` is told how many are done. With `alone` each layer of a tested graph is
    measured by itself, too. Raises `NpuqError` where the inputs differ or no value is common to both.
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
    see: Callable[[Arrays, Arrays], None] = lambda exact, found: None,
    progress: Progress = lambda count: None,
) -> list[Difference]:
    """Measure pairs of values over runs, each the inputs of the reference and of the tested: `compare`, pairs given.

    `see` is shown the real numbers of all pairs on both sides, run by run.
    """
    if alone and not isinstance(tested, GraphSide):
        raise NpuqError(f"{tested.name}: a dump cannot be run, so its layers cannot be measured alone")
    types = [reference.type(pair.name) for pair in pairs]
    values = [Value(tested, pair) for pair in pairs]
    exact_of = reference.reader([pair.name for pair in pairs])
    tested_of = _tested(tested, values, alone=alone)
    known, isolated = ([Tally(tuple(bands)) for _ in pairs] for _ in range(2))
    for index, (left, right) in enumerate(runs):
        given_of = zip(exact_of(index, left), types, pairs, strict=True)
        exact = [_seen(real(array, type_), pair.least) for array, type_, pair in given_of]
        results = zip(values, tested_of(index, right, None), exact, strict=True)
        found = [value.aligned(array, one) for value, array, one in results]
        for tally, one, other in zip(known, exact, found, strict=True):
            tally.add(one, other)
        see(exact, found)
        if alone:
            given = [value.encoded(one) for value, one in zip(values, exact, strict=True)]
            for value, tally, one, array in zip(values, isolated, exact, tested_of(index, right, given), strict=True):
                tally.add(one, value.aligned(array, one))
        progress(index + 1)
    layers = [reference.layers[pair.name] for pair in pairs]
    return [
        Difference(layer.index, layer.name, layer.op, layer.place, all_.measures, own.measures if alone else None)
        for layer, all_, own in zip(layers, known, isolated, strict=True)
    ]


def to_json(found: Sequence[Difference]) -> str:
    """Rows as JSON; what is infinite or no number is null."""
    return json.dumps([plain(asdict(row)) for row in found], indent=2) + "\n"


def sides(reference: Graph | Dump, tested: Graph | Dump) -> tuple[Side, Side]:
    """Both sides; what no index of a dump tells, the other side does."""
    given = (reference, tested)
    if all(isinstance(side, Graph) for side in given):
        _require_alike(*(side for side in given if isinstance(side, Graph)))
    one, other = (
        GraphSide(side) if isinstance(side, Graph) else DumpSide(side, _types(beside))
        for side, beside in (given, given[::-1])
    )
    return one, other


def runs(reference: Graph | Dump, tested: Graph | Dump, samples: Samples | None) -> Iterator[tuple[Arrays, Arrays]]:
    """The inputs of both sides, one run after another: from samples, or from what a dump was made with."""
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


def _seen(numbers: np.ndarray, least: float) -> np.ndarray:
    """Numbers as far as anything sees them."""
    return numbers if least == -math.inf else np.maximum(numbers, np.asarray(least, numbers.dtype))


def _tested(side: Side, values: Sequence[Value], *, alone: bool) -> Callable[[int, Arrays, Arrays | None], Arrays]:
    """The tested values of a run: as they are, or with `given` in the place of what their readers see."""
    names = [value.pair.tested for value in values]
    if not alone or not isinstance(side, GraphSide):
        read = side.reader(names)
        return lambda index, inputs, given: read(index, inputs)
    run = evaluate_by_node(side.graph, [side.used(name) for name in names])
    return lambda index, inputs, given: run(inputs, given or ())


@dataclass
class Value:
    """One compared value of the tested side: its axes are found at the first array, where no pair has told them."""

    side: Side
    pair: Pair
    type: TensorType = field(init=False)
    order: Order | None = field(init=False)

    def __post_init__(self) -> None:
        self.type, self.order = self.side.type(self.pair.tested), self.pair.order

    def aligned(self, array: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The real numbers of an array, their axes in the reference's order."""
        numbers = real(array, self.type)
        if self.order is None:
            self.order = nearest_order(reference, numbers)
        return numbers.transpose(np.argsort(self.order))

    def encoded(self, exact: np.ndarray) -> np.ndarray:
        """Real numbers of the reference as this value's readers want them."""
        assert self.order is not None
        assert isinstance(self.side, GraphSide)
        graph, used = self.side.graph, self.side.used(self.pair.tested)
        moved, producer = exact.transpose(self.order), graph.producers[used]
        if isinstance(producer.op, Dequantize):
            integers = _integers(graph, producer.operands[0], moved)
            return real(integers, graph.types[producer.operands[0]]).astype(self.type.dtype.numpy)
        return moved.astype(self.type.dtype.numpy) if self.type.quant is None else _integers(graph, used, moved)


def nearest_order(reference: np.ndarray, tested: np.ndarray) -> Order:
    """The order that the axes of `reference` have in `tested`; where several fit, the nearest array is meant."""
    fitting = [order for order in orders(tested.ndim) if reference.transpose(order).shape == tested.shape]
    if len(fitting) == 1:
        return fitting[0]
    return min(fitting, key=lambda order: float(np.abs(reference.transpose(order) - tested).sum()))


def orders(rank: int) -> list[Order]:
    """The orders that axes may have been brought into: none other, channels last, channels first."""
    axes = tuple(range(rank))
    return [axes] if rank < 3 else [axes, (0, *axes[2:], 1), (0, rank - 1, *axes[1:-1])]


def real(array: np.ndarray, type_: TensorType) -> np.ndarray:
    """The real numbers that an array stands for, in float64 where they have a scale."""
    quant = type_.quant
    if quant is None:
        return array
    shape = [-1 if axis == quant.axis else 1 for axis in range(type_.rank)]
    centred = array - np.reshape(np.asarray(quant.zero_points, np.float64), shape)
    return np.asarray(centred * np.reshape(np.asarray(quant.scales), shape))


def _integers(graph: Graph, name: str, numbers: np.ndarray) -> np.ndarray:
    """Numbers as the integers of a value, saturated as its own op does."""
    type_, producer = graph.types[name], graph.producers.get(name)
    assert type_.quant is not None
    limits = [getattr(producer.op, side, None) if producer else None for side in ("low", "high")]
    low, high = (limit if isinstance(limit, int) else end for limit, end in zip(limits, type_.dtype.range, strict=True))
    integers: np.ndarray = to_integers(numbers.astype(np.float64), type_.quant, low, high)
    return integers.astype(type_.dtype.numpy)


def _types(side: Graph | Dump) -> Mapping[str, TensorType]:
    if isinstance(side, Graph):
        return side.types
    return {name: value.type for name, value in side.results.items() if value.type is not None}


def _require_alike(reference: Graph, tested: Graph) -> None:
    shapes = [[type_.shape for type_ in graph.input_types] for graph in (reference, tested)]
    if shapes[0] != shapes[1]:
        told = (f"{graph.name} takes {', '.join(map(str, graph.input_types))}" for graph in (reference, tested))
        raise NpuqError(f"the inputs differ: {', '.join(told)}")


def _alike(one: TensorType, other: TensorType) -> bool:
    """Whether two values are of the same size, some order of axes given, and not truth values."""
    shapes = [tuple(one.shape[axis] for axis in order) for order in orders(one.rank)]
    return other.shape in shapes and DType.BOOL not in (one.dtype, other.dtype)
