"""Foreign models to float graphs, one folder per format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npuq.ir import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

    from .onnx import Problem


def load(source: str | Path | ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Read a trained network as a float graph; `shapes` gives the input sizes that its file leaves open."""
    from . import onnx

    return onnx.load(source, shapes)


def check(source: str | Path | ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> list[Problem]:
    """All problems that keep a network from being read, at once."""
    from . import onnx

    return onnx.check(source, shapes)
