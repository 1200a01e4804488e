"""The reference of an import: a model in its own framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from npuq.ir import Graph

Arrays = Mapping[str, np.ndarray]

TOLERANCE = 1e-4
"""The error of another order of float32 sums, as a share of a value's range."""


@dataclass(frozen=True, slots=True)
class Original:
    """Inputs by name to outputs by name; `inside` returns the layers' values under the names of a graph's values.

    `tolerance` is the allowed difference, as a share of an output's range.
    """

    framework: str
    run: Callable[[Arrays], Arrays]
    inside: Callable[[Graph, Arrays], Arrays] | None = None
    tolerance: float = TOLERANCE

    def with_inputs(self, fixed: Arrays) -> Original:
        """Fix some inputs."""
        run, inside = self.run, self.inside
        return replace(
            self,
            run=lambda arrays: run({**arrays, **fixed}),
            inside=None if inside is None else lambda graph, arrays: inside(graph, {**arrays, **fixed}),
        )
