"""The factors of an equalization: the candidate with the least noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.conv import Conv, ConvTranspose

from ..canonical.affine import along
from ..target import Width, weight_range
from .channel_ties import Ties

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The powers of the channels' shares of activation and weight ranges that are tried as factors."""

LEAST_FACTOR = 2.0**-4
"""The least factor: channels that are small in the calibration set may be greater in other data."""

MOST_NOISE = 0.9
"""Factors are used where they reduce the noise at least to this part."""

Arrays = Mapping[str, np.ndarray]
"""A number per channel, by value."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Statistics of a value over the calibration set, f64 per channel.

    `peaks` are the greatest magnitudes, `usual` the means over samples of each one's greatest, `squares` the mean
    squares; a sample has `elements` in each channel.
    """

    peaks: np.ndarray
    usual: np.ndarray
    squares: np.ndarray
    samples: int
    elements: int

    def clipped(self, limit: np.ndarray) -> np.ndarray:
        """The expected squared error per element of a new sample that exceeds `limit`, which is at least the peaks.

        The greatest of S exponential excesses with mean b is expected at (H - 1) b above b, H = 1 + ... + 1 / S; this
        gives b, and the expected squared error of one element beyond the limit is 2 b^2 exp(-excess / b).
        """
        harmonic = float((1 / np.arange(1, self.samples + 1)).sum())
        mean = np.maximum(self.peaks - self.usual, 1e-30) / max(harmonic - 1, 0.5)
        return np.asarray(2 * np.square(mean) * np.exp(-(limit - self.usual) / mean - 1) / self.elements)


@dataclass(frozen=True, eq=False)
class Block:
    """Values whose channels are tied, directly or through others, with the indices of their channels in the block.

    `readers` are nodes whose weights sum over them, each with its operand; `apart` are values read channel by channel.
    """

    size: int
    values: Arrays
    readers: tuple[tuple[Node, str], ...]
    apart: frozenset[str]


def choose_factors(graph: Graph, ties: Ties, seen: Mapping[str, Seen], width: Width) -> dict[str, np.ndarray]:
    """The factors of every value that gets others than 1, along its channels."""
    chosen = np.ones(len(ties.parents))
    peaks = {value: one.peaks for value, one in seen.items()}
    for roots, block in blocks(graph, ties, peaks):
        shares = _shares(block, peaks)
        options = [np.ones(block.size), *candidates(graph, block, shares)]
        noises = [noise(graph, block, factors, seen, width) for factors in options]
        best = int(np.argmin(noises))
        if noises[best] < MOST_NOISE * noises[0]:
            chosen[roots] = options[best]
    return {
        value: factors
        for value in ties.ids
        if not np.array_equal(factors := chosen[ties.roots(value)], 1.0 + 0 * factors)
    }


def blocks(graph: Graph, ties: Ties, peaks: Arrays) -> Iterator[tuple[np.ndarray, Block]]:
    """The independent sets of channels that may be scaled, with their numbers in `ties`."""
    free, sets = ties.free(), Ties(parents=list(range(len(ties.ids))))
    owner: dict[int, int] = {}
    for number, value in enumerate(ties.ids):
        for root in ties.roots(value).tolist():
            sets.join(owner.setdefault(root, number), number)
    members: dict[int, list[str]] = {}
    for number, value in enumerate(ties.ids):
        members.setdefault(sets.root(number), []).append(value)
    for values in members.values():
        roots = np.unique(np.concatenate([ties.roots(value) for value in values]))
        counted = [value for value in values if value in peaks]
        if not counted or not free[roots].all():
            continue
        readers, apart = [], set()
        for value, node in [(one, node) for one in counted for node in graph.users[one]]:
            depthwise = isinstance(node.op, Conv) and graph.types[node.operands[1]].shape[1] == 1
            if node.result in ties.weighted and not depthwise:
                readers.append((node, value))
            else:
                apart.add(value)
        indices = {value: np.searchsorted(roots, ties.roots(value)) for value in counted}
        yield roots, Block(len(roots), indices, tuple(readers), frozenset(apart))


def _shares(block: Block, peaks: Arrays) -> np.ndarray:
    """Each channel's share of the range: the geometric mean over the block's values."""
    logs, counts = np.zeros(block.size), np.zeros(block.size)
    for value, index in block.values.items():
        share = np.maximum(peaks[value] / max(peaks[value].max(), 1e-30), LEAST_FACTOR)
        np.add.at(logs, index, np.log(share))
        np.add.at(counts, index, 1)
    return np.asarray(np.exp(logs / np.maximum(counts, 1)))


def candidates(graph: Graph, block: Block, shares: np.ndarray) -> Iterator[np.ndarray]:
    """Powers of the shares, over powers of the weights' shares where weights sum over the channels."""
    columns = np.zeros(block.size)
    for node, value in block.readers:
        weights = np.abs(graph.constants[node.operands[1]].array.astype(np.float64))
        rows = along(node, weights, _greatest(node, weights, of_result=True), of_result=True)
        relative = _greatest(node, weights / np.maximum(rows, 1e-30), of_result=False)
        np.maximum.at(columns, block.values[value], relative)
    columns = np.maximum(columns, LEAST_FACTOR)
    for power in EXPONENTS:
        for other in EXPONENTS if block.readers else (0.0,):
            factors = shares**power / columns**other
            yield np.clip(factors / factors.max(), LEAST_FACTOR, 1.0)


def _greatest(node: Node, weights: np.ndarray, *, of_result: bool) -> np.ndarray:
    """The greatest weight of each channel of a node's result, or else of its input."""
    if isinstance(node.op, Conv) is of_result:
        return np.asarray(weights.reshape(len(weights), -1).max(axis=1))
    groups = node.op.groups if isinstance(node.op, (Conv, ConvTranspose)) else 1
    grouped = weights.reshape(groups, -1, *weights.shape[1:])
    return np.asarray(grouped.max(axis=(1, *range(3, grouped.ndim)))).reshape(-1)


def noise(graph: Graph, block: Block, factors: np.ndarray, seen: Mapping[str, Seen], width: Width) -> float:
    """The noise in each reader's result and in values read apart, relative to the signal.

    Steps make noise of step^2 / 12 per element; elements and weights are taken as independent.
    """
    total = 0.0
    levels, weight_levels = width.activation_range[1], weight_range(width.weight_dtype(None))[1]
    lost = {}
    for value, index in block.values.items():
        limit = (seen[value].peaks / factors[index]).max() * factors[index]
        lost[value] = np.square(limit / levels) / 12 + seen[value].clipped(limit)
    for value in block.apart:
        total += float(np.mean(np.minimum(lost[value] / np.maximum(seen[value].squares, 1e-30), 1.0)))
    for node, value in block.readers:
        index, squares = block.values[value], seen[value].squares
        weights = graph.constants[node.operands[1]].array.astype(np.float64)
        scaled = np.abs(weights * along(node, weights, factors[index], of_result=False))
        greatest = _greatest(node, scaled, of_result=True)
        steps = np.square(along(node, weights, greatest / weight_levels, of_result=True))
        unscaled = along(node, weights, squares / np.square(factors[index]), of_result=False)
        rounding = (unscaled * np.broadcast_to(steps, weights.shape)).sum() / 12
        power = np.square(weights)
        noisy, usual = (power * along(node, weights, one, of_result=False) for one in (lost[value], squares))
        total += float((noisy.sum() + rounding) / max(usual.sum(), 1e-30))
    return total
