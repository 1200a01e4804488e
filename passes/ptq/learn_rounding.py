"""Learned rounding: a weight goes down or up by what that does to the results of its node, not by what is nearer."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from npuq.ir import Builder, Graph, Node, PassError, rewrite
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.quant import Dequantize, to_integers

from ..calibration.samples import Sample
from ..pipeline import FOUND, graph_pass
from ..target import weight_range
from .round_rows import round_rows
from .rounding_moments import Moments, from_rows, moments, rows
from .stepwise import Stepwise

RIDGE = 0.01
"""The share of a moment between different inputs that is not believed, however many positions were seen."""

LEAST = 1e-20
"""Added to each square, so that inputs that are always zero have one."""


@graph_pass("learn-rounding")
def learn_rounding(
    graph: Graph, *, exact: Graph = FOUND, samples: Sequence[Sample] = FOUND, most_bits: int = 8, drop: float = 0.0
) -> Graph:
    """Round each weight of a fake-quant graph down or up so that the results of its node are nearest to the exact ones.

    As AdaRound (Nagel et al., Up or down? Adaptive rounding for post-training quantization, 2020) node by node in
    order, each seeing the inputs that the nodes before it now give, against the results of the float graph `exact`. The
    error of a sum of products is a quadratic form of its weights, whose coefficients, the second moments of its inputs,
    are all that is wanted of `samples`; so the search is one of integers, the same on each run, and needs no rate or
    number of steps. A bias takes what the means then differ by. Scales stay as they are.

    Convolutions and matrix products with weights of at most `most_bits` bits are learned. `drop` is the share of
    inputs that are taken exact (QDrop). Raises PassError where there is no sample.
    """
    if not samples:
        raise PassError(f"{graph.name}: learned rounding: no samples; at least one wanted")
    real, seen = Stepwise(exact, samples), Stepwise(graph, samples)
    places = {node.results[0]: index for index, node in enumerate(exact.nodes)}
    found: dict[str, np.ndarray] = {}
    for index, node in enumerate(graph.nodes):
        if not _is_learned(graph, node, most_bits):
            continue
        if node.result not in places:
            raise PassError(f"{node.place}: learned rounding: the exact graph has no %{node.result}")
        twin = exact.nodes[places[node.result]]
        wanted = real.run(places[node.result] + 1, (twin.operands[0], twin.result))
        given = seen.run(index, (node.operands[0],))
        inputs = (
            (one[node.operands[0]], other[twin.operands[0]], other[twin.result])
            for one, other in zip(given, wanted, strict=True)
        )
        weights = exact.constants[twin.operands[1]].array.astype(np.float64)
        learned = _learned(graph, node, weights, moments(twin, weights, inputs, drop))
        for name, integers in zip(node.operands[1:], learned, strict=True):
            found[name] = integers
            with jax.enable_x64(True):
                seen.known[name] = np.asarray(graph.producers[name].op.evaluate(integers))

    def put(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if node.results[0] not in found:
            return None
        quant = graph.types[node.operands[0]].quant
        constant = builder.constant(found[node.result], node.operands[0], quant)
        return builder.add(node.op, constant, name=node.result, loc=node.loc)

    return rewrite(graph, put)


def _is_learned(graph: Graph, node: Node, most_bits: int) -> bool:
    """Whether a node multiplies a computed value with known weights of few bits."""
    if not isinstance(node.op, (Conv, MatMul)) or node.operands[0] not in graph.producers:
        return False
    if not all(_is_known(graph, name) for name in node.operands[1:]):
        return False
    weights = graph.types[graph.producers[node.operands[1]].operands[0]]
    return weights.rank > 1 and weights.dtype.bits <= most_bits


def _is_known(graph: Graph, name: str) -> bool:
    maker = graph.producers.get(name)
    return maker is not None and isinstance(maker.op, Dequantize) and maker.operands[0] in graph.constants


def _learned(graph: Graph, node: Node, weights: np.ndarray, seen: Moments) -> tuple[np.ndarray, ...]:
    """The integers of a node's weights and, where it has one, of its bias."""
    made = [graph.producers[name] for name in node.operands[1:]]
    types = [graph.types[one.operands[0]] for one in made]
    quants = [type_.quant for type_ in types if type_.quant is not None]
    about = seen.centred() if len(made) > 1 else seen
    along = [-1 if axis == quants[0].axis else 1 for axis in range(weights.ndim)]
    scales = np.asarray(quants[0].scales).reshape(along)
    steps = rows(node, np.broadcast_to(scales, weights.shape))[:, :, :1]
    exact = rows(node, weights)
    squares, products = _believed(about, exact)
    integers = np.stack(
        [
            round_rows(*group, weight_range(types[0].dtype)[1])
            for group in zip(exact, steps, squares, products, strict=True)
        ]
    )
    chosen = from_rows(node, integers, weights.shape).astype(types[0].dtype.numpy)
    if len(made) == 1:
        return (chosen,)
    bias = seen.results - np.einsum("gok,gk->go", integers * steps, seen.inputs)
    limits = types[1].dtype.range
    return chosen, to_integers(bias.reshape(-1), quants[1], *limits).astype(types[1].dtype.numpy)


def _believed(seen: Moments, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments, those between different inputs less the more of them there are for the positions seen.

    What is left out, so that few samples do not tell each weight what to be, pulls a weight to its exact value.
    """
    size = weights.shape[2]
    share = max(1.0 - RIDGE - size / (size + seen.count), 0.0)
    squares = share * seen.squares
    own = np.einsum("gkk->gk", seen.squares)
    squares[:, range(size), range(size)] = own + 1e-6 * own.mean(axis=1, keepdims=True) + LEAST
    return squares, weights @ squares + share * (seen.products - weights @ seen.squares)
