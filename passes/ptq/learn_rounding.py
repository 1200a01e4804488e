"""Learned rounding: each weight is rounded down or up to the least error of its node's results."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from npuq.ir import Graph, Node, PassError
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.quant import along, to_integers

from ..calibration.samples import Sample
from ..conditions import no_integer_ops
from ..lowering.registry import is_dequantized_constant
from ..pipeline import FOUND, graph_pass
from ..target import weight_range
from .round_rows import round_rows
from .rounding_moments import Moments, from_rows, moments, rows
from .stepwise import Stepwise, with_integers

SHRINKAGE = 0.01
"""The share by which moments between different inputs are reduced, however many positions there are."""

LEAST_SQUARE = 1e-20
"""Added to each square, so that inputs that are always zero have one."""


@graph_pass("learn-rounding", requires=(no_integer_ops,))
def learn_rounding(
    graph: Graph, *, exact: Graph = FOUND, samples: Sequence[Sample] = FOUND, most_bits: int = 8, drop: float = 0.0
) -> Graph:
    """Round each weight of a fake-quant graph down or up so that the results of its node are nearest to the exact ones.

    As AdaRound (Nagel et al., Up or down? Adaptive rounding for post-training quantization, 2020), node by node in
    order, on the inputs that the nodes before now give, against the results of the float graph `exact`. The error of a
    sum of products is a quadratic form of its weights with the second moments of its inputs over `samples`; so the
    search is over integers and deterministic. The bias absorbs the remaining difference of means; scales stay.

    Convolutions and matrix products with weights of at most `most_bits` bits are learned. `drop` is the share of
    inputs that are taken exact (QDrop). Raises PassError where there is no sample.
    """
    if not samples:
        raise PassError(f"{graph.name}: learned rounding: no samples; at least one wanted")
    real, rounded = Stepwise(exact, samples), Stepwise(graph, samples)
    places = {node.results[0]: index for index, node in enumerate(exact.nodes)}
    found: dict[str, np.ndarray] = {}
    for index, node in enumerate(graph.nodes):
        if not _is_learned(graph, node, most_bits):
            continue
        if node.result not in places:
            raise PassError(f"{node.place}: learned rounding: the exact graph has no %{node.result}")
        twin = exact.nodes[places[node.result]]
        reference = real.run(places[node.result] + 1, (twin.operands[0], twin.result))
        quantized = rounded.run(index, (node.operands[0],))
        inputs = (
            (one[node.operands[0]], other[twin.operands[0]], other[twin.result])
            for one, other in zip(quantized, reference, strict=True)
        )
        weights = exact.constants[twin.operands[1]].array.astype(np.float64)
        learned = _learned(graph, node, weights, moments(twin, weights, inputs, drop))
        for name, integers in zip(node.operands[1:], learned, strict=True):
            found[name] = integers
            with jax.enable_x64(True):
                rounded.known[name] = np.asarray(graph.producers[name].op.evaluate(integers))
    return with_integers(graph, found)


def _is_learned(graph: Graph, node: Node, most_bits: int) -> bool:
    """Whether a node multiplies a computed value with known weights of few bits."""
    if not isinstance(node.op, (Conv, MatMul)) or node.operands[0] not in graph.producers:
        return False
    if not all(is_dequantized_constant(graph, name) for name in node.operands[1:]):
        return False
    weights = graph.types[graph.producers[node.operands[1]].operands[0]]
    return weights.rank > 1 and weights.dtype.bits <= most_bits


def _learned(graph: Graph, node: Node, weights: np.ndarray, statistics: Moments) -> tuple[np.ndarray, ...]:
    """The integers of a node's weights and, where it has one, of its bias."""
    made = [graph.producers[name] for name in node.operands[1:]]
    types = [graph.types[one.operands[0]] for one in made]
    quants = [type_.quant for type_ in types if type_.quant is not None]
    about = statistics.centred() if len(made) > 1 else statistics
    scales = along(np.asarray(quants[0].scales), quants[0].axis, weights.ndim)
    steps = rows(node, np.broadcast_to(scales, weights.shape))[:, :, :1]
    exact = rows(node, weights)
    squares, products = _shrunk(about, exact)
    most = weight_range(types[0].dtype)[1]
    groups = zip(exact, steps, squares, products, strict=True)
    integers = np.stack([round_rows(*group, most) for group in groups])
    rounded = from_rows(node, integers, weights.shape).astype(types[0].dtype.numpy)
    if len(made) == 1:
        return (rounded,)
    bias = statistics.results - np.einsum("gok,gk->go", integers * steps, statistics.inputs)
    return rounded, to_integers(bias.reshape(-1), quants[1], *types[1].dtype.range).astype(types[1].dtype.numpy)


def _shrunk(statistics: Moments, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments, those between different inputs reduced where there are many inputs for the positions.

    The reduction keeps few samples from deciding each weight, and pulls weights to their exact values.
    """
    size = weights.shape[2]
    share = max(1.0 - SHRINKAGE - size / (size + statistics.count), 0.0)
    squares = share * statistics.squares
    own = np.einsum("gkk->gk", statistics.squares)
    squares[:, range(size), range(size)] = own + 1e-6 * own.mean(axis=1, keepdims=True) + LEAST_SQUARE
    return squares, weights @ squares + share * (statistics.products - weights @ statistics.squares)
