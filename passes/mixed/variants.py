"""All choices of widths in one compiled function: grids are its arguments, so that no choice is compiled again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import Graph, compiler_options, function, parameters
from npuq.ir.op import Arrays
from npuq.ir.ops.quant import Dequantize, Quantize, to_reals

from ..calibration.observe import cpu_workers
from ..calibration.samples import Sample
from ..lowering import LOWERINGS
from .points import Place, Point, instrumented, known_values, measured_values, points_of
from .units import Units

NARROW = 1
"""The index of the narrow one in pairs of widths."""

Known = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Variants:
    """A float graph whose points are narrow or wide: fake quantization in float32, with traced scales and limits.

    `grids` f32[points, 2, 4] has scale, zero point, least and greatest integer of each, wide first; `known` the
    constants of each KNOWN point by name, wide first. `reference` is the float graph for errors.
    """

    units: Units
    points: tuple[Point, ...]
    grids: np.ndarray
    known: dict[int, Known]
    reference: Graph
    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, units: Units, wide: Graph, narrow: Graph, reference: Graph, samples: Iterable[Sample]) -> Variants:
        """Read both grids of every point from the fake-quant graphs in which all ops are wide, or narrow."""
        points = points_of(units)
        grids, known = np.ones((len(points), 2, 4), np.float32), {}
        quantizes = [
            {node.operands[0]: node.op for node in graph.nodes if isinstance(node.op, Quantize)}
            for graph in (wide, narrow)
        ]
        for index, point in enumerate(points):
            if point.place is Place.KNOWN:
                one, other = (_known(units, point.unit, graph) for graph in (wide, narrow))
                known[index] = {name: (array, other[name]) for name, array in one.items()}
                continue
            for width, ops in enumerate(quantizes):
                op = ops[point.value]
                grids[index, width] = op.quant.scale, op.quant.zero_point, op.low, op.high
        return cls(units, points, grids, known, reference, tuple(samples))

    def outputs(self, narrow: np.ndarray) -> list[np.ndarray]:
        """The measured values, [samples, ...] each, with the points of `narrow`, bool[points], narrow."""
        with jax.enable_x64(True):
            found = self._run(self._parameters, self._inputs, self.grids, self.known, narrow)
            return [np.asarray(value, np.float64) for value in found]

    def error(self, narrow: np.ndarray) -> float:
        """The noise of the outputs over their signal, against the float graph: 10^(-SQNR / 10)."""
        return self._ratio(self.outputs(narrow), self._exact)

    def alone(self, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """The error that each point alone adds, f64[points]: one at a time narrow, all others wide.

        Its own noise is not hidden under that of others; small independent noises add up in power.
        """
        base = self.outputs(np.zeros(len(self.points), bool))
        errors = np.zeros(len(self.points))
        with ThreadPoolExecutor(cpu_workers()) as pool:
            for index, outputs in enumerate(pool.map(self.outputs, np.eye(len(self.points), dtype=bool))):
                errors[index] = self._ratio(outputs, base)
                if progress is not None:
                    progress(index + 1)
        return errors

    def _ratio(self, outputs: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
        ratios = [
            float(np.square(one - other).sum()) / signal
            for one, other, signal in zip(outputs, wanted, self._signals, strict=True)
            if signal > 0
        ]
        return sum(ratios) / max(len(ratios), 1)

    @cached_property
    def powers(self) -> list[float]:
        """The mean power of each measured value over the samples, summed over its elements; 1 where it is zero."""
        return [signal / len(self.samples) or 1.0 for signal in self._signals]

    def is_bias(self, point: Point, name: str) -> bool:
        """Whether a constant is a bias, which follows the weights and adds no noise of its own."""
        if point.place is not Place.KNOWN:
            return False
        graph = self.units.graph
        nodes = [graph.producers[member] for member in self.units.by_name[point.unit].members]
        return all(
            index == LOWERINGS[type(node.op)].bias
            for node in nodes
            for index, operand in enumerate(node.operands)
            if operand == name
        )

    @cached_property
    def _signals(self) -> list[float]:
        return [float(np.square(value).sum()) for value in self._exact]

    @cached_property
    def _exact(self) -> list[np.ndarray]:
        """The measured values of the float graph."""
        mapped = jax.vmap(function(self.reference, measured_values(self.reference)), in_axes=(None, 0))
        run = jax.jit(mapped, compiler_options=compiler_options(one_thread=True))
        with jax.enable_x64(True):
            return [np.asarray(value, np.float64) for value in run(parameters(self.reference), self._inputs)]

    @cached_property
    def _inputs(self) -> list[np.ndarray]:
        return [np.stack(arrays) for arrays in zip(*self.samples, strict=True)]

    @cached_property
    def _parameters(self) -> dict[str, jax.Array]:
        return parameters(self.units.graph)

    @cached_property
    def _run(self) -> Callable[..., Arrays]:
        touched = instrumented(self.units, self.points)

        def run(known: Any, inputs: Any, grids: jax.Array, constants: Any, narrow: jax.Array) -> Arrays:
            def touch(index: int, name: str, x: jax.Array) -> jax.Array:
                if self.points[index].place is Place.KNOWN:
                    wide, small = constants[index][name]
                    return jnp.where(narrow[index], small, wide)
                return on_grid(x, grids[index, narrow[index].astype(jnp.int32)])

            return touched(known, inputs, touch)

        compiled: Callable[..., Arrays] = jax.jit(
            jax.vmap(run, in_axes=(None, 0, None, None, None)), compiler_options=compiler_options(one_thread=True)
        )
        return compiled


def on_grid(x: jax.Array, grid: Any) -> jax.Array:
    """The nearest numbers of a grid: scale, zero point, least and greatest integer."""
    scale, zero_point, low, high = grid
    nearest: jax.Array = (jnp.clip(jnp.round(x * (1 / scale)) + zero_point, low, high) - zero_point) * scale
    return nearest


def _known(units: Units, unit: str, quantized: Graph) -> dict[str, np.ndarray]:
    """The constants of a unit as a fake-quant graph holds them, by their names in the float graph."""
    found = {}
    for member in units.by_name[unit].members:
        node = units.graph.producers[member]
        operands = quantized.producers[member].operands
        for name in known_values(units.graph, node):
            producer = quantized.producers[operands[node.operands.index(name)]]
            assert isinstance(producer.op, Dequantize)
            found[name] = to_reals(quantized.constants[producer.operands[0]].array, producer.op.quant)
    return found
