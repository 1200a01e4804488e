"""Means per channel over all samples, from sums that no order changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Channels = tuple[str, int]
"""A value's name and the axis of its channels."""

FRACTION_BITS = 64
"""What a sample's sums are cut to before they add up, as whole numbers without limit."""

CHANNELS_LAST = (0, 3, 1, 2)
"""Where the axes of a value of rank 4 lie in what `float_forward` gives."""


@dataclass
class ChannelSums:
    """The running sums of one value along one axis, whole numbers of 2^-FRACTION_BITS, and how many elements each has.

    A sample's own sums are float64; across samples only whole numbers add up, so order and grouping do not matter.
    """

    axis: int
    sums: np.ndarray = field(default_factory=lambda: np.zeros((), object))
    elements: int = 0

    def add(self, x: np.ndarray) -> None:
        """Add one sample's finite elements, channels last where the rank is 4."""
        axis = CHANNELS_LAST[self.axis] if x.ndim == 4 else self.axis
        totals = x.sum(axis=tuple(index for index in range(x.ndim) if index != axis), dtype=np.float64)
        self.sums = self.sums + np.array([int(total) for total in np.ldexp(totals, FRACTION_BITS)], object)
        self.elements += x.size // max(x.shape[axis], 1)

    def merge(self, other: ChannelSums) -> ChannelSums:
        """The sums of both sets of samples."""
        return ChannelSums(self.axis, self.sums + other.sums, self.elements + other.elements)

    def means(self) -> np.ndarray:
        """The means, f64[channels], each rounded once."""
        return np.array([total / (self.elements << FRACTION_BITS) for total in self.sums], np.float64)
