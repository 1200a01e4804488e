"""A model as its own framework runs it, for comparison with the imported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Graph

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Original:
    """Inputs by name to outputs by name; `inside` gives, by the names of a graph's values, what layers compute."""

    framework: str
    run: Callable[[Arrays], Arrays]
    inside: Callable[[Graph, Arrays], Arrays] | None = None
