"""A Caffe network in OpenCV, since Caffe itself is no longer available."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import Graph, NpuqError, one_line

from ..reference import Arrays, Original
from ..specialize import Shapes
from .load import weights_of
from .read import read_net


def original(source: str | Path, shapes: Shapes | None = None, *, weights: str | Path | None = None) -> Original:
    """Return the network in OpenCV 4, with its layers' values."""
    try:
        cv2 = importlib.import_module("cv2")
        reads = hasattr(cv2.dnn, "readNetFromCaffe")
    except ImportError:
        reads = False
    if not reads:
        raise NpuqError("OpenCV 4, which reads Caffe files, is not installed: pip install 'opencv-python-headless<5'")
    path = Path(source)
    stored = weights_of(path, weights)
    writers = {top: spec.name for spec in read_net(path, stored).layers for top in spec.tops}
    net = cv2.dnn.readNetFromCaffe(str(path), str(stored))
    net.enableFusion(False)

    def computed(layers: Sequence[str], inputs: Arrays) -> list[np.ndarray]:
        for name, array in inputs.items():
            net.setInput(array, name)
        try:
            return [np.asarray(of[0]) for of in net.forwardAndRetrieve(list(layers))]
        except cv2.error as error:
            raise NpuqError(f"OpenCV cannot run the network: {one_line(error)[:300]}") from None

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(writers, computed(list(writers.values()), inputs), strict=True))

    def inside(graph: Graph, inputs: Arrays) -> Arrays:
        last = {node.loc.rpartition(":")[2]: node.results[0] for node in graph.nodes}
        known: Any = set(net.getLayerNames())
        layers = [layer for layer in last if layer in known]
        return dict(zip((last[layer] for layer in layers), computed(layers, inputs), strict=True))

    return Original("OpenCV", run, inside)
