"""PaddlePaddle models to float graphs, by way of paddle2onnx in a process of its own."""

from __future__ import annotations

from .load import original, to_graph

__all__ = ["original", "to_graph"]
