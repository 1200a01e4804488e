"""PyTorch modules and exported programs to float graphs, by way of PyTorch's own ONNX exporter."""

from __future__ import annotations

from .load import original, to_graph

__all__ = ["original", "to_graph"]
