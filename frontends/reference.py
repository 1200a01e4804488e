"""A model as its own framework runs it, for comparison with the imported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from npuq.ir import Graph

Arrays = Mapping[str, np.ndarray]

TOLERANCE = 1e-4
"""Of a value's range: what another order of float32 sums may cost."""


@dataclass(frozen=True, slots=True)
class Original:
    """Inputs by name to outputs by name; `inside` gives, by the names of a graph's values, what layers compute.

    `tolerance`, a share of an output's range, is what the graph may differ by.
    """

    framework: str
    run: Callable[[Arrays], Arrays]
    inside: Callable[[Graph, Arrays], Arrays] | None = None
    tolerance: float = TOLERANCE

    def with_inputs(self, fixed: Arrays) -> Original:
        """The same with some inputs that are always what they are here."""
        run, inside = self.run, self.inside
        return replace(
            self,
            run=lambda arrays: run({**arrays, **fixed}),
            inside=None if inside is None else lambda graph, arrays: inside(graph, {**arrays, **fixed}),
        )
