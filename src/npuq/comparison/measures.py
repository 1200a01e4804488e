"""The error of one array of numbers against another: running sums, and measures of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np

BANDS = (0.01, 0.1, 0.5, 1.0)
"""The upper borders of the classes of relative errors, each without its border; a last class holds the rest."""

SMALL = 1e-6
"""References of at most this magnitude do not count in the greatest relative and absolute error."""

CHUNK = 1 << 15
"""Elements that are measured at once: few enough for a cache."""


@dataclass(frozen=True)
class Measures:
    """The error of the tested values r against the reference l, over all elements of all samples.

    | field | formula |
    |---|---|
    | `mean_relative` | sum \\|r - l\\| / sum \\|l\\| |
    | `cosine` | 50 + 50 cos(l, r), in percent |
    | `rmse` | sqrt(sum (r - l)^2 / sum l^2) |
    | `most_relative`, `most_absolute` | the greatest \\|r - l\\| / \\|l\\| and \\|r - l\\| where \\|l\\| > 1e-6 |
    | `above`, `below` | the shares of r > l and of r < l |
    | `bands` | the shares with a relative error below 1, 10, 50 and 100 %, and of the rest |

    0/0 is 0, since both are equal, and x/0 is infinite. The cosine of two zero tensors is 1, of a zero and another one
    0. NaN counts in the last band.
    """

    elements: int
    mean_relative: float
    cosine: float
    rmse: float
    most_relative: float
    most_absolute: float
    above: float
    below: float
    bands: tuple[float, ...]

    @property
    def sqnr_db(self) -> float:
        """10 log10(sum l^2 / sum (r - l)^2): infinite for equal values, negative infinity for noise on silence."""
        if self.rmse == 0:
            return math.inf
        return -math.inf if math.isinf(self.rmse) else -20 * math.log10(self.rmse)


class Tally:
    """The running sums of one layer: memory does not grow with the samples."""

    def __init__(self, borders: tuple[float, ...] = BANDS) -> None:
        self.borders, self.elements = borders, 0
        self.sums, self.within = np.zeros(8), np.zeros(len(borders), np.int64)
        self.most_relative = self.most_absolute = 0.0

    def add(self, reference: np.ndarray, tested: np.ndarray) -> None:
        """Count one pair of arrays of the same shape."""
        left, right = reference.ravel(), tested.ravel()
        for start in range(0, left.size, CHUNK):
            part = slice(start, start + CHUNK)
            self._add(left[part].astype(np.float64), right[part].astype(np.float64))

    def _add(self, left: np.ndarray, right: np.ndarray) -> None:
        difference = right - left
        error, size = np.abs(difference), np.abs(left)
        self.elements += left.size
        # No BLAS: its sums depend on its threads.
        summed = (error, size, np.square(difference), np.square(left), np.square(right), left * right)
        self.sums += [*(array.sum() for array in (*summed, difference > 0, difference < 0))]
        both_zero = int(np.count_nonzero((size == 0) & (error == 0)))
        self.within += [int(np.count_nonzero(error < border * size)) + both_zero for border in self.borders]
        counted = size > SMALL
        self.most_absolute = max(self.most_absolute, float(error.max(initial=0.0, where=counted)))
        relative = np.divide(error, size, out=np.zeros_like(error), where=counted)
        self.most_relative = max(self.most_relative, float(relative.max(initial=0.0)))

    @property
    def measures(self) -> Measures:
        """The measures of all counted pairs."""
        error, size, squared_error, squared_reference, squared_tested, product, above, below = self.sums.tolist()
        count = max(self.elements, 1)
        if squared_reference == 0 or squared_tested == 0:
            cosine = float(squared_reference == squared_tested)
        else:
            cosine = product / math.sqrt(squared_reference) / math.sqrt(squared_tested)
        return Measures(
            self.elements,
            _ratio(error, size),
            50 + 50 * cosine,
            math.sqrt(_ratio(squared_error, squared_reference)),
            self.most_relative,
            self.most_absolute,
            above / count,
            below / count,
            tuple((high - low) / count for low, high in pairwise([0, *self.within.tolist(), self.elements])),
        )


def plain(value: Any) -> Any:
    """The value as JSON holds it; infinity and NaN become null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf if part else 0.0
