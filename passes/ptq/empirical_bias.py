"""Empirical bias correction: each channel's mean error over a few samples is subtracted from its bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import Graph, Node, PassError, compiler_options, function, parameters
from npuq.ir.evaluate import Parameters
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.ir.ops.quant import Dequantize

from ..calibration.samples import Sample
from ..conditions import no_integer_ops
from ..lowering.registry import is_dequantized_constant
from ..pipeline import FOUND, graph_pass
from .stepwise import with_integers

SAMPLES = "samples"


@graph_pass("empirical-bias", requires=(no_integer_ops,))
def empirical_bias(graph: Graph, *, exact: Graph = FOUND, samples: Sequence[Sample] = FOUND) -> Graph:
    """Move the biases of a fake-quant graph until channels have the means over `samples` that the float graph's have.

    Node by node in order, each seeing what the nodes before it now give (Nagel et al., Data-free quantization through
    weight equalization and bias correction, 2019), so the errors of activations count too. `exact` is the float graph.
    Known biases move by whole steps; scales stay. Raises PassError where there is no sample.
    """
    if not samples:
        raise PassError(f"{graph.name}: empirical bias correction: no samples; at least one wanted")
    biases = {
        node.result: graph.producers[node.operands[2]]
        for node in graph.nodes
        if _has_bias(graph, node) and node.result in exact.producers
    }
    found: dict[str, np.ndarray] = {}
    for name, steps in _steps(graph, exact, samples, biases).items():
        known = graph.constants[biases[name].operands[0]]
        integers = np.clip(known.array + steps, *known.type.dtype.range)
        found[biases[name].result] = integers.astype(known.array.dtype)
    return with_integers(graph, found)


def _has_bias(graph: Graph, node: Node) -> bool:
    """Whether a node sums products and adds a known bias that nothing else reads."""
    if not isinstance(node.op, (Conv, ConvTranspose, MatMul)) or len(node.operands) < 3:
        return False
    return is_dequantized_constant(graph, node.operands[2]) and len(graph.users[node.operands[2]]) == 1


def _steps(graph: Graph, exact: Graph, samples: Sequence[Sample], biases: Mapping[str, Node]) -> dict[str, np.ndarray]:
    """By how many steps each bias must move, i64[channels]; all samples run through both graphs in one batch."""
    scales = {
        name: np.asarray(dequantize.op.quant.scales, np.float32)
        for name, dequantize in biases.items()
        if isinstance(dequantize.op, Dequantize)
    }

    def run(known: Parameters, real: Parameters, inputs: Sequence[jax.Array]) -> dict[str, jax.Array]:
        right = dict(zip(biases, function(exact, tuple(biases))(real, inputs), strict=True))
        steps: dict[str, jax.Array] = {}

        def correct(name: str, value: jax.Array) -> jax.Array:
            if name not in biases:
                return value
            axis = value.ndim - 1 if isinstance(graph.producers[name].op, MatMul) else 1
            others = tuple(index for index in range(value.ndim) if index != axis)
            off = jnp.mean(right[name] - value, axis=others)
            off = jax.lax.pmean(off, SAMPLES)  # type: ignore[no-untyped-call]
            steps[name] = jnp.rint(off / scales[name])
            return value + jnp.expand_dims(steps[name] * scales[name], others)

        function(graph, (), change=correct)(known, inputs)
        return steps

    mapped = jax.vmap(run, (None, None, 0), axis_name=SAMPLES)
    compiled = jax.jit(mapped, compiler_options=compiler_options(one_thread=True))
    with jax.enable_x64(True):
        stacked = [np.stack(arrays) for arrays in zip(*samples, strict=True)]
        found = compiled(parameters(graph), parameters(exact), stacked)
        return {name: np.asarray(counts[0], np.int64) for name, counts in found.items()}
