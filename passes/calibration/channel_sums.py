"""What calibration knows of each channel over all samples: sums and extremes that no order changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FRACTION_BITS = 64
"""What a sample's sums are cut to before they add up, as whole numbers."""

LIMB_BITS, LIMBS = 32, 12
"""How whole numbers are held: each limb of a sample's sum is below 2^32, so that 2^31 samples fit into int64."""

CHANNELS_LAST = (0, 3, 1, 2)
"""Where the axes of a value of rank 4 lie in what the forward of calibration gives."""


def _nothing() -> np.ndarray:
    return np.zeros((LIMBS, 1), np.int64)


@dataclass
class ChannelSums:
    """The running sums of one value along one axis, in limbs, and how many elements and samples they have.

    A sample's own sums are float64; across samples only whole numbers add up, so order and grouping do not matter.
    Kept where `all_` asks for them: `squares`, the sums of squares; `lows` and `highs`, the extremes of all samples;
    `low_sums` and `high_sums`, the sums of each sample's own.
    """

    axis: int
    all_: bool = False
    sums: np.ndarray = field(default_factory=_nothing)
    squares: np.ndarray = field(default_factory=_nothing)
    lows: np.ndarray = field(default_factory=lambda: np.full((), np.inf))
    highs: np.ndarray = field(default_factory=lambda: np.full((), -np.inf))
    low_sums: np.ndarray = field(default_factory=_nothing)
    high_sums: np.ndarray = field(default_factory=_nothing)
    elements: int = 0
    samples: int = 0

    def add(self, x: np.ndarray) -> None:
        """Add one sample's finite elements, channels last where the rank is 4."""
        axis = CHANNELS_LAST[self.axis] if x.ndim == 4 else self.axis
        others = tuple(index for index in range(x.ndim) if index != axis)
        self.sums = self.sums + _whole(x.sum(axis=others, dtype=np.float64))
        if self.all_:
            self.squares = self.squares + _whole(np.square(x, dtype=np.float64).sum(axis=others))
            lows, highs = x.min(axis=others), x.max(axis=others)
            self.lows, self.highs = np.minimum(self.lows, lows), np.maximum(self.highs, highs)
            self.low_sums = self.low_sums + _whole(lows.astype(np.float64))
            self.high_sums = self.high_sums + _whole(highs.astype(np.float64))
        self.elements += x.size // max(x.shape[axis], 1)
        self.samples += 1

    def merge(self, other: ChannelSums) -> ChannelSums:
        """The sums of both sets of samples."""
        return ChannelSums(
            self.axis,
            self.all_,
            self.sums + other.sums,
            self.squares + other.squares,
            np.minimum(self.lows, other.lows),
            np.maximum(self.highs, other.highs),
            self.low_sums + other.low_sums,
            self.high_sums + other.high_sums,
            self.elements + other.elements,
            self.samples + other.samples,
        )

    def means(self) -> np.ndarray:
        """The means, f64[channels], each rounded once."""
        return _divided(self.sums, self.elements)

    def mean_squares(self) -> np.ndarray:
        """The means of the squares, f64[channels]."""
        return _divided(self.squares, self.elements)

    def mean_extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The means over the samples of each sample's least and of its greatest element, f64[channels] each."""
        return _divided(self.low_sums, self.samples), _divided(self.high_sums, self.samples)


def _divided(limbs: np.ndarray, count: int) -> np.ndarray:
    totals = sum(limb.astype(object) << LIMB_BITS * index for index, limb in enumerate(limbs))
    return np.array([total / (count << FRACTION_BITS) for total in totals], np.float64)


def _whole(totals: np.ndarray) -> np.ndarray:
    """The limbs of whole numbers of 2^-FRACTION_BITS, i64[LIMBS, n], each with its number's sign."""
    rest = np.trunc(np.ldexp(totals, FRACTION_BITS))
    limbs = np.zeros((LIMBS, len(rest)), np.int64)
    for index in reversed(range(np.frexp(np.abs(rest).max(initial=0))[1] // LIMB_BITS + 1)):
        limb = np.trunc(np.ldexp(rest, -LIMB_BITS * index))
        limbs[index] = limb
        rest -= np.ldexp(limb, LIMB_BITS * index)
    return limbs
