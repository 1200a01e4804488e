"""Caffe files: two files, inputs in old and new fields, layers in place, old layer messages, and one line per fault."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npuq.frontends import check, load
from npuq.frontends.caffe.schema import message
from npuq.ir import NpuqError, evaluate

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }\n'
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 1 } }\n'
)
Weights = Mapping[str, tuple[np.ndarray, ...]]
WEIGHTS: Weights = {"c": (np.arange(6).reshape(3, 2, 1, 1), np.ones(3))}


def net(folder: Path, text: str, weights: Weights = WEIGHTS, old: bool = False) -> Path:
    """Write both files; `old` gives weights the message and the four sizes of before 2015."""
    proto = message("NetWeights")()
    for name, arrays in weights.items():
        layer: Any = (proto.layers if old else proto.layer).add(name=name)
        for array in arrays:
            blob = layer.blobs.add(data=np.asarray(array, np.float32).ravel())
            if old:
                sizes = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(array.shape)
    (folder / "n.caffemodel").write_bytes(proto.SerializeToString())
    (folder / "n.prototxt").write_text(text)
    return folder / "n.prototxt"


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(NpuqError) as caught:
        load(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("n.prototxt:").strip()


def test_the_text_of_a_small_net_with_layers_in_place(tmp_path: Path) -> None:
    text = INPUT + CONV + 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }\n'
    graph = load(net(tmp_path, text))
    assert str(graph).splitlines()[-4:] == [
        "  %c = conv %x, %c.weight, %c.bias {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,3,4,4]"
        '  loc("n.prototxt:c")',
        '  %r = relu %c : f32[1,3,4,4]  loc("n.prototxt:r")',
        "  return c=%r",
        "}",
    ]


@pytest.mark.parametrize(
    "head",
    [
        'input: "x" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4',
        'input: "x" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 }',
        'layers { name: "d" type: MEMORY_DATA top: "x" top: "label" '
        "memory_data_param { batch_size: 1 channels: 2 height: 4 width: 4 } }",
    ],
)
def test_old_fields_give_the_same_net(tmp_path: Path, head: str) -> None:
    body = (
        'layers { name: "c" type: CONVOLUTION bottom: "x" top: "c" '
        "convolution_param { num_output: 3 kernel_size: 1 } }\n"
        'layers { name: "r" type: RELU bottom: "c" top: "r" blobs_lr: 1 }\n'
        'layers { name: "p" type: INNER_PRODUCT bottom: "r" top: "p" inner_product_param { num_output: 2 } }\n'
    )
    dense = np.linspace(-1, 1, 96).reshape(2, 48)
    weights = dict(WEIGHTS) | {"p": (dense, np.zeros(2))}
    graph = load(net(tmp_path, head + "\n" + body, weights, old=True))
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    kernel, bias = WEIGHTS["c"]
    hidden = np.maximum(np.einsum("oi,nihw->nohw", kernel[:, :, 0, 0], x) + bias[:, None, None], 0)
    assert np.allclose(evaluate(graph)(x)[0], hidden.reshape(1, -1) @ dense.T, rtol=1e-5, atol=1e-5)
    assert list(graph.inputs) == ["x"]


def test_training_layers_are_left_out_by_their_rules(tmp_path: Path) -> None:
    train = INPUT.replace("} }\n", "} include { phase: TRAIN } }\n").replace("dim: 4", "dim: 9")
    loss = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" top: "l" exclude { phase: TEST } }\n'
    graph = load(net(tmp_path, train + INPUT + CONV + loss))
    assert graph.inputs["x"].shape == (1, 2, 4, 4)
    assert list(graph.outputs) == ["c"]


def test_given_shapes_win(tmp_path: Path) -> None:
    graph = load(net(tmp_path, INPUT + CONV), {"x": (2, 2, 5, 6)})
    assert graph.output_types[0].shape == (2, 3, 5, 6)


def test_half_and_double_precision_weights(tmp_path: Path) -> None:
    path = net(tmp_path, INPUT + CONV)
    proto = message("NetWeights")()
    layer = proto.layer.add(name="c")
    half = layer.blobs.add(raw_data=np.arange(6, dtype="<f2").tobytes(), raw_data_type=2)
    half.shape.dim.extend((3, 2, 1, 1))
    layer.blobs.add(double_data=[1, 1, 1]).shape.dim.extend((3,))
    (tmp_path / "n.caffemodel").write_bytes(proto.SerializeToString())
    assert load(path) == load(net(tmp_path, INPUT + CONV))


def test_all_unknown_layers_are_told_at_once(tmp_path: Path) -> None:
    text = INPUT + "".join(
        f'layer {{ name: "{name}" type: "{type_}" bottom: "x" top: "{name}" }}\n'
        for name, type_ in (("a", "Foo"), ("b", "Bar"), ("d", "Foo"), ("e", "Accuracy"))
    )
    assert refused(net(tmp_path, text + CONV)) == (
        "3 problems: n.prototxt:a and 1 more: Foo: no converter for this Caffe layer; "
        "n.prototxt:b: Bar: no converter for this Caffe layer; "
        "n.prototxt:e: Accuracy: no converter for this Caffe layer; "
        "take the network for deployment instead of the one for training"
    )
    assert [problem.operator for problem in check(tmp_path / "n.prototxt")] == ["Foo", "Bar", "Accuracy"]


def test_faults_of_the_files(tmp_path: Path) -> None:
    path = net(tmp_path, INPUT + CONV)
    assert refused(path, weights=tmp_path / "m.caffemodel").endswith(
        "m.caffemodel: cannot be read: No such file or directory"
    )
    stored = (tmp_path / "n.caffemodel").read_bytes()
    (tmp_path / "n.caffemodel").write_bytes(stored[: len(stored) // 2])
    assert refused(path).endswith(f"n.caffemodel: these {len(stored) // 2} bytes are not a caffemodel")
    (tmp_path / "n.caffemodel").write_bytes(b"")
    assert refused(path).endswith("n.caffemodel: these 0 bytes hold no layers")
    (tmp_path / "n.caffemodel").unlink()
    assert refused(path) == "no .caffemodel file beside it; name the weights: --weights FILE.caffemodel"
    net(tmp_path, "layer { name: ")
    assert "n.prototxt: not a prototxt: " in refused(path)
    path.write_bytes(b"\xff\xfe")
    assert refused(path).endswith("n.prototxt: not a prototxt: it is no UTF-8 text")
    assert refused(net(tmp_path, "")) == "no layers"
    oldest = 'layers { layer { name: "c" type: "conv" } bottom: "x" top: "c" }'
    assert refused(net(tmp_path, oldest)).startswith("layers of the oldest form")


@pytest.mark.parametrize(
    ("text", "weights", "told"),
    [
        (INPUT + CONV, {}, "c: Convolution: the weights file holds 0 arrays for it, its weight is missing"),
        (
            INPUT + CONV,
            {"c": (np.ones((3, 5, 1, 1)), np.ones(3))},
            "c: Convolution: weight of shape (3, 5, 1, 1), (3, 2, 1, 1) wanted: do the files belong together?",
        ),
        (CONV, WEIGHTS, "c: bottom 'x' is not defined, or only later"),
        (
            'layer { name: "in" type: "Input" top: "x" }' + CONV,
            WEIGHTS,
            "the shape of input 'x' is not given; fix it, for example: --shape x:1,3,224,224",
        ),
        (
            INPUT + CONV.replace("num_output: 3", "num_output: 3 group: 2"),
            WEIGHTS,
            "c: Convolution: 2 to 3 channels, 2 groups",
        ),
        (
            INPUT + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { pool: STOCHASTIC } }',
            {"p": ()},
            "p: Pooling: stochastic pooling is not supported",
        ),
        (
            INPUT + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" }',
            {"p": ()},
            "p: Pooling: kernel_size is missing",
        ),
        (
            INPUT + 'layer { name: "p" type: "Concat" bottom: "x" top: "p" top: "q" }',
            {"p": ()},
            "p: Concat: 2 tops, 1 wanted",
        ),
    ],
)
def test_faults_of_a_net(tmp_path: Path, text: str, weights: Weights, told: str) -> None:
    weights = weights or {"other": (np.ones(1),)}
    assert refused(net(tmp_path, text, weights)) == told


def test_an_unknown_input_is_told(tmp_path: Path) -> None:
    assert refused(net(tmp_path, INPUT + CONV), shapes={"y": (1, 2)}) == "there is no input 'y'; the inputs are x"
