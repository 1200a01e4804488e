"""Caffe layers compute what OpenCV's importer computes from the same files, and where it cannot, their formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from npuq.frontends import load
from npuq.frontends.caffe.registry import CONVERTERS
from npuq.frontends.caffe.schema import message
from npuq.ir import evaluate, verify

cv2 = pytest.importorskip(
    "cv2", reason="OpenCV's Caffe importer is the reference: pip install opencv-python-headless==4.14.0.94"
)

TOLERANCE = 1e-5
"""Of the output's greatest number."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One layer of a type: its parameters as text, the shapes of its stored arrays and of its bottoms.

    `formula` gives the first top from the bottoms and the stored arrays, where OpenCV does not know the layer.
    """

    type: str
    parameters: str = ""
    weights: tuple[Shape, ...] = ()
    bottoms: tuple[Shape, ...] = ((1, 4, 7, 9),)
    tops: int = 1
    positive: bool = False
    formula: Callable[..., np.ndarray] | None = None

    def __str__(self) -> str:
        return f"{self.type} {' '.join(self.parameters.split())[:60]}".strip()


def conv(text: str) -> str:
    return f"convolution_param {{ {text} }}"


def one_by_one(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = x * w[:, 0] + b[:, None, None]
    return scaled


CASES = (
    Case("Convolution", conv("num_output: 6 kernel_size: 3"), ((6, 4, 3, 3), (6,))),
    Case("Convolution", conv("num_output: 6 kernel_size: 3 stride: 2 pad: 1 bias_term: false"), ((6, 4, 3, 3),)),
    Case(
        "Convolution",
        conv("num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_w: 2 stride_h: 1 group: 2"),
        ((8, 2, 3, 1), (8,)),
    ),
    Case("Convolution", conv("num_output: 4 kernel_size: 3 dilation: 2 group: 4"), ((4, 1, 3, 3), (1, 1, 1, 4))),
    Case("Deconvolution", conv("num_output: 3 kernel_size: 4 stride: 2 pad: 1"), ((4, 3, 4, 4), (3,))),
    Case("Deconvolution", conv("num_output: 4 kernel_size: 4 stride: 2 group: 4 bias_term: false"), ((4, 1, 4, 4),)),
    Case("InnerProduct", "inner_product_param { num_output: 5 }", ((5, 252), (5,))),
    Case("InnerProduct", "inner_product_param { num_output: 5 axis: -1 bias_term: false }", ((5, 9),)),
    Case("BatchNorm", "", ((4,), (4,), (1,)), positive=True),
    Case("BatchNorm", "batch_norm_param { eps: 0.01 use_global_stats: true }", ((4,), (4,), (1,)), positive=True),
    Case("Scale", "", ((4,),)),
    Case("Scale", "scale_param { bias_term: true }", ((4,), (4,))),
    Case("Scale", "scale_param { axis: 0 }", bottoms=((1, 4, 7, 9), (1, 4))),
    Case("Bias", "", ((4,),), formula=lambda x, b: x + b[:, None, None]),
    Case("ReLU"),
    Case("ReLU", "relu_param { negative_slope: 0.1 }"),
    Case("ReLU6"),
    Case("PReLU", "", ((4,),)),
    Case("PReLU", "prelu_param { channel_shared: true }", ((1,),)),
    Case("ELU", "elu_param { alpha: 1 }"),
    Case("Sigmoid"),
    Case("TanH"),
    Case("BNLL"),
    Case("AbsVal"),
    Case("Power", "power_param { power: 2 scale: 0.5 shift: 1 }"),
    Case("Power", "power_param { power: 1.5 scale: 2 }", positive=True),
    Case("Power", "power_param { scale: -2 shift: 1 }"),
    Case("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    Case("Exp"),
    Case("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"),
    Case("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", bottoms=((1, 4, 8, 10),)),
    Case("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", bottoms=((1, 4, 8, 10),)),
    Case("Pooling", "pooling_param { pool: MAX kernel_h: 2 kernel_w: 3 stride: 2 pad: 1 }", bottoms=((1, 4, 8, 10),)),
    Case("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 ceil_mode: false }", bottoms=((1, 4, 8, 10),)),
    Case("Pooling", "pooling_param { pool: AVE global_pooling: true }"),
    Case("Pooling", "pooling_param { pool: MAX global_pooling: true }"),
    Case("Eltwise", bottoms=((1, 4, 3, 3),) * 2),
    Case("Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -1 coeff: 1 }", bottoms=((1, 4, 3, 3),) * 3),
    Case("Eltwise", "eltwise_param { operation: PROD }", bottoms=((1, 4, 3, 3),) * 2),
    Case("Eltwise", "eltwise_param { operation: MAX }", bottoms=((1, 4, 3, 3),) * 2),
    Case("Concat", bottoms=((1, 4, 3, 3), (1, 2, 3, 3))),
    Case("Concat", "concat_param { axis: -1 }", bottoms=((1, 4, 3, 3), (1, 4, 3, 2))),
    Case("Slice", "slice_param { slice_point: 1 slice_point: 3 }", tops=3),
    Case("Slice", "slice_param { axis: 1 }", tops=2, formula=lambda x: x[:, :2]),
    Case("Split", tops=2, formula=lambda x: x),
    Case("Flatten"),
    Case("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    Case("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }"),
    Case("Reshape", "reshape_param { shape { dim: 2 dim: -1 } axis: 1 num_axes: 1 }"),
    Case("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    Case("Softmax"),
    Case("Softmax", "softmax_param { axis: -1 }"),
    Case("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }"),
    Case(
        "LRN",
        "lrn_param { local_size: 1 alpha: 0.5 beta: 0.6 k: 2 }",
        formula=lambda x: x / (2 + 0.5 * x * x) ** 0.6,
    ),
    Case("LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"),
    Case("Dropout"),
    Case("Normalize", "norm_param { across_spatial: false channel_shared: false }", ((4,),)),
    Case("Normalize", "norm_param { across_spatial: true channel_shared: true }", ((1,),)),
    Case("MVN"),
    Case("MVN", "mvn_param { across_channels: true normalize_variance: false }"),
    Case("Interp", "interp_param { zoom_factor: 2 }"),
    Case("Interp", "interp_param { height: 5 width: 13 }"),
    Case("Upsample", "upsample_param { scale: 2 }", formula=lambda x: x.repeat(2, 2).repeat(2, 3)),
    Case("Crop", "crop_param { axis: 2 offset: 1 offset: 2 }", bottoms=((1, 4, 7, 9), (1, 2, 5, 4))),
    Case("ArgMax", "argmax_param { axis: 1 }", formula=lambda x: x.argmax(1, keepdims=True)),
    Case("ArgMax", "argmax_param { axis: 1 out_max_val: true }", formula=lambda x: x.max(1, keepdims=True)),
    Case("ArgMax", formula=lambda x: x.reshape(1, 1, -1).argmax(2, keepdims=True)),
    Case("Reduction", "reduction_param { operation: MEAN axis: 1 coeff: 2 }", formula=lambda x: 2 * x.mean((1, 2, 3))),
    Case("Reduction", "reduction_param { operation: ASUM axis: 2 }", formula=lambda x: abs(x).sum((2, 3))),
    Case("Reduction", "reduction_param { operation: SUMSQ axis: -1 }", formula=lambda x: (x * x).sum(-1)),
    Case("Tile", "tile_param { axis: 2 tiles: 3 }", formula=lambda x: np.tile(x, (1, 1, 3, 1))),
    Case("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    Case("Log", "log_param { base: 2 scale: 3 shift: 1 }", positive=True, formula=lambda x: np.log2(3 * x + 1)),
    Case("Clip", "clip_param { min: -0.5 max: 0.25 }", formula=lambda x: x.clip(-0.5, 0.25)),
    Case("DepthwiseConvolution", conv("num_output: 4 kernel_size: 1"), ((4, 1, 1, 1), (4,)), formula=one_by_one),
    Case("ConvolutionDepthwise", conv("num_output: 4 kernel_size: 1"), ((4, 1, 1, 1), (4,)), formula=one_by_one),
)


def write(folder: Path, case: Case) -> tuple[Path, Path, list[np.ndarray], list[np.ndarray]]:
    """The two files of a net of one layer, data for its inputs, and its weights."""
    rng = np.random.default_rng(7)

    def numbers(shape: Shape) -> np.ndarray:
        drawn = rng.standard_normal(shape).astype(np.float32)
        return np.abs(drawn) + np.float32(0.1) if case.positive else drawn

    names = [f"x{index}" for index in range(len(case.bottoms))]
    text = 'name: "net"\n'
    for name, shape in zip(names, case.bottoms, strict=True):
        sizes = " ".join(f"dim: {size}" for size in shape)
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {sizes} }} }} }}\n'
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    tops = " ".join(f'top: "y{index}"' for index in range(case.tops))
    text += f'layer {{ name: "it" type: "{case.type}" {bottoms} {tops} {case.parameters} }}\n'
    weights = [numbers(shape) for shape in case.weights]
    net = message("NetWeights")()
    blobs = net.layer.add(name="it").blobs
    for array in weights:
        blob = blobs.add(data=array.ravel())
        blob.shape.dim.extend(array.shape)
    architecture, stored = folder / "net.prototxt", folder / "net.caffemodel"
    architecture.write_text(text)
    stored.write_bytes(net.SerializeToString())
    return architecture, stored, [numbers(shape) for shape in case.bottoms], weights


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_computes_what_opencv_computes(case: Case, tmp_path: Path) -> None:
    architecture, stored, data, weights = write(tmp_path, case)
    graph = verify(load(architecture))
    assert all(node.loc == "net.prototxt:it" for node in graph.nodes)
    if case.formula is None:
        wanted = opencv(architecture, stored, dict(zip(graph.inputs, data, strict=True)))
    else:
        wanted = [case.formula(*data, *weights)]
    for ours, theirs in zip(evaluate(graph)(*data), wanted, strict=False):
        assert ours.shape == theirs.shape
        assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def opencv(architecture: Path, stored: Path, data: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What OpenCV computes for the last layer's tops."""
    net = cv2.dnn.readNetFromCaffe(str(architecture), str(stored))
    for name, array in data.items():
        net.setInput(array, name)
    return list(net.forwardAndRetrieve([net.getLayerNames()[-1]])[0])


def test_every_layer_type_has_a_case() -> None:
    assert {case.type for case in CASES} | {"Silence"} == set(CONVERTERS)
