"""Two versions of a network on the same data, value by value: with the errors of all layers before, and alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npuq.backends.edge import to_edge
from npuq.ir import DType, Graph, NpuqError, TensorType, compiler_options, evaluate, parameters
from npuq.ir.ops.quant import Dequantize, Quantize, to_integers

from .measures import Measures, Tally

Progress = Callable[[int], None]
Order = tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """How far a layer of the tested network is from the same layer of the reference, over all samples.

    `index` counts the reference's nodes. `accumulated` measures the tested network as it runs, `alone` the layer
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
    """A value of both graphs: where it lies in the tested one, and its axes there, None where that is not known."""

    name: str
    tested: str
    order: Order | None = None


def compare(
    reference: Graph,
    tested: Graph,
    samples: Iterable[Mapping[str, np.ndarray]],
    *,
    alone: bool = False,
    progress: Progress = lambda count: None,
) -> list[Difference]:
    """Measure every value that both graphs have by name, in the reference's order.

    The graphs may be of any level: where a value is quantized, its dequantized form is compared, and a value whose
    axes a backend has moved is moved back. Samples are batches by the reference's input names, any number of the
    graph's own; `progress` is told how many are done. With `alone` each layer is measured by itself, too. Raises
    `NpuqError` where the inputs differ or no value is common to both.
    """
    _require_alike(reference, tested)
    pairs = [
        Pair(name, name) for node in reference.nodes for name in node.results if _comparable(reference, tested, name)
    ]
    if not pairs:
        raise NpuqError(f"{reference.name}, {tested.name}: no value has the same name and size in both")
    batches = (list(sample.values()) for sample in samples)
    return differences(reference, tested, pairs, batches, alone=alone, progress=progress)


def differences(
    reference: Graph,
    tested: Graph,
    pairs: Sequence[Pair],
    batches: Iterable[Sequence[np.ndarray]],
    *,
    alone: bool,
    progress: Progress = lambda count: None,
) -> list[Difference]:
    """Measure pairs of values over batches of inputs in the reference's order: `compare` with its pairs given."""
    wanted = evaluate(reference, [_as_used(reference, pair.name) for pair in pairs])
    used = [reference.types[_as_used(reference, pair.name)] for pair in pairs]
    values = [_Value(tested, pair) for pair in pairs]
    probe = Probe(tested, [value.used for value in values])
    known, isolated = [Tally() for _ in pairs], [Tally() for _ in pairs]
    done = 0
    for left, right in _runs(reference, tested, batches):
        exact = [real(np.asarray(array), type_) for array, type_ in zip(wanted(*left), used, strict=True)]
        for value, tally, one, other in zip(values, known, exact, probe(right), strict=True):
            tally.add(one, value.aligned(other, one))
        if alone:
            given = [value.encoded(one) for value, one in zip(values, exact, strict=True)]
            for value, tally, one, other in zip(values, isolated, exact, probe(right, given), strict=True):
                tally.add(one, value.aligned(other, one))
        progress(done := done + 1)
    places = {name: index for index, node in enumerate(reference.nodes) for name in node.results}
    return [
        Difference(
            places[pair.name],
            pair.name,
            reference.producers[pair.name].op.name,
            reference.producers[pair.name].place,
            all_.measures,
            own.measures if alone else None,
        )
        for pair, all_, own in zip(pairs, known, isolated, strict=True)
    ]


class Probe:
    """A graph as a function from one run's inputs to the named values, compiled once.

    With `given`, an array for each name, whatever reads such a value sees the given array instead: each layer is then
    alone with operands that are known.
    """

    def __init__(self, graph: Graph, names: Sequence[str]) -> None:
        self.names = list(names)
        self.types = [graph.types[name] for name in self.names]
        self.known = parameters(graph)
        places = {name: index for index, name in enumerate(self.names)}

        def run(known: Mapping[str, jax.Array], inputs: Sequence[Any], given: Sequence[Any], replace: Any) -> list[Any]:
            values, results = dict(known), {}
            values.update(zip(graph.inputs, inputs, strict=True))
            for node in graph.nodes:
                computed = node.op.evaluate(*(values[operand] for operand in node.operands))
                for name, array in zip(
                    node.results, computed if isinstance(computed, tuple) else (computed,), strict=True
                ):
                    values[name] = results[name] = array
                    if name in places:
                        values[name] = jnp.where(replace, given[places[name]], array)
            return [results[name] for name in self.names]

        self.run = jax.jit(run, compiler_options=dict(compiler_options()))

    @cached_property
    def nothing(self) -> list[np.ndarray]:
        """Arrays that stand where nothing is given."""
        return [np.zeros(type_.shape, type_.dtype.numpy) for type_ in self.types]

    def __call__(self, inputs: Sequence[np.ndarray], given: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        with jax.enable_x64(True):
            results = self.run(
                self.known, inputs, self.nothing if given is None else given, np.bool_(given is not None)
            )
            return [np.asarray(result) for result in results]


@dataclass
class _Value:
    """One compared value of the tested graph: its axes are found at the first array, where no pair has told them."""

    graph: Graph
    pair: Pair
    used: str = field(init=False)
    order: Order | None = field(init=False)

    def __post_init__(self) -> None:
        self.used, self.order = _as_used(self.graph, self.pair.tested), self.pair.order

    @property
    def type(self) -> TensorType:
        return self.graph.types[self.used]

    def aligned(self, array: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The real numbers of an array, their axes in the reference's order."""
        numbers = real(array, self.type)
        if self.order is None:
            self.order = nearest_order(reference, numbers)
        return numbers.transpose(np.argsort(self.order))

    def encoded(self, exact: np.ndarray) -> np.ndarray:
        """Real numbers of the reference as this value's readers want them."""
        assert self.order is not None
        moved, type_ = exact.transpose(self.order), self.type
        producer = self.graph.producers[self.used]
        if isinstance(producer.op, Dequantize):
            integers = _integers(self.graph, producer.operands[0], moved)
            return real(integers, self.graph.types[producer.operands[0]]).astype(type_.dtype.numpy)
        return moved.astype(type_.dtype.numpy) if type_.quant is None else _integers(self.graph, self.used, moved)


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


def _runs(
    reference: Graph, tested: Graph, batches: Iterable[Sequence[np.ndarray]]
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The inputs of both graphs, one run after another."""
    for batch in batches:
        (left, count), (right, _) = to_edge(reference, batch), to_edge(tested, batch)
        for index in range(count):
            yield (
                [_part(array, type_, index) for array, type_ in zip(left, reference.input_types, strict=True)],
                [_part(array, type_, index) for array, type_ in zip(right, tested.input_types, strict=True)],
            )


def _part(array: np.ndarray, type_: TensorType, index: int) -> np.ndarray:
    return array[index * type_.shape[0] : (index + 1) * type_.shape[0]] if type_.rank else array


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
    shapes = [tuple(one.shape[axis] for axis in order) for order in orders(one.rank)]
    return other.shape in shapes and DType.BOOL not in (one.dtype, other.dtype)


def _as_used(graph: Graph, name: str) -> str:
    """The value that stands for a name: behind its quantize/dequantize pair where only the pair reads it."""
    user = graph.only_user(name) if name not in graph.returned else None
    if user is None or not isinstance(user.op, Quantize):
        return name
    readers = [node for node in graph.users[user.result] if isinstance(node.op, Dequantize)]
    return readers[0].result if readers else name
