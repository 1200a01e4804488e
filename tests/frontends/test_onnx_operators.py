"""Operators of which ONNX has no or too few node tests compute what onnxruntime computes."""

from __future__ import annotations

import jax
import numpy as np
import onnxruntime
import pytest
from onnx import parser

from npuq.frontends import load
from npuq.ir import NpuqError, evaluate

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
RNG = np.random.default_rng(0)


def assert_equals_onnxruntime(text: str, *inputs: np.ndarray, error: float = 1e-6) -> None:
    made = parser.parse_model(HEAD + text)
    names = [value.name for value in made.graph.input]
    wanted = onnxruntime.InferenceSession(made.SerializeToString()).run(None, dict(zip(names, inputs, strict=True)))
    with jax.enable_x64(True):
        found = evaluate(load(made))(*inputs)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=error)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_max_roi_pool(scale: float) -> None:
    text = f"""g (float[2, 3, 9, 8] x, float[6, 5] rois) => (float[6, 3, 2, 3] y) {{
      y = MaxRoiPool <pooled_shape = [2, 3], spatial_scale = {scale}> (x, rois)
    }}"""
    corners = np.asarray([[0, 0, 0, 7, 8], [1, 2, 3, 4, 4], [0, 5, 5, 5, 5], [1, 6, 1, 3, 0], [0, 5, 6, 30, 40]])
    rois = np.concatenate([corners, [[1, 1.5, 2.5, 6.5, 7.5]]]).astype(np.float32)
    assert_equals_onnxruntime(text, RNG.normal(size=(2, 3, 9, 8)).astype(np.float32), rois)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...qc,...kc->q...k", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
        ("i,j", [(3,), (4,)]),
        ("iij,jk->k", [(3, 3, 2), (2, 4)]),
        ("ij,ij->i", [(3, 4), (3, 4)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    given = ", ".join(f"float[{','.join(map(str, shape))}] x{index}" for index, shape in enumerate(shapes))
    names = ", ".join(f"x{index}" for index in range(len(shapes)))
    rank = np.einsum(equation, *arrays).ndim
    wanted = ",".join("abcdef"[:rank])
    assert_equals_onnxruntime(
        f'g ({given}) => (float[{wanted}] y) {{ y = Einsum <equation = "{equation}"> ({names}) }}', *arrays
    )


SEQUENCES = """g (float[2, 5] x) => (float[3, 2, 5] stacked, float[2, 7] joined, float[2, 5] one, int64 count)
<int64[2] sizes = {2, 3}, int64 first = {0}, int64 last = {-1}> {
  n = Neg (x)
  r = Relu (x)
  two = SequenceConstruct (x, n)
  three = SequenceInsert (two, r, first)
  stacked = ConcatFromSequence <axis = 0, new_axis = 1> (three)
  parts = SplitToSequence <axis = 1> (x, sizes)
  tail = SequenceAt (parts, first)
  more = SequenceInsert (parts, tail)
  joined = ConcatFromSequence <axis = 1> (more)
  fewer = SequenceErase (three, first)
  one = SequenceAt (fewer, last)
  count = SequenceLength (fewer)
}"""


def test_sequences() -> None:
    assert_equals_onnxruntime(SEQUENCES, RNG.normal(size=(2, 5)).astype(np.float32))


def test_a_sequence_is_no_tensor() -> None:
    text = "g (float[2] x) => (float[2] y) { s = SequenceConstruct (x, x) y = Relu (s) }"
    with pytest.raises(NpuqError, match="g:y: Relu: a sequence stands where a tensor is wanted"):
        load(parser.parse_model(HEAD + text))


def test_places_of_maxima_with_padding_and_ties() -> None:
    x = RNG.integers(-3, 0, (2, 2, 6, 7)).astype(np.float32)
    assert_equals_onnxruntime(
        """g (float[2, 2, 6, 7] x) => (float[a, b, c, d] y, int64[a, b, c, d] at) {
          y, at = MaxPool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 1, 1, 0]> (x)
        }""",
        x,
    )


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_of_equals(largest: int) -> None:
    text = f"""g (int64[4, 9] x) => (int64[4, 5] y, int64[4, 5] at) <int64[1] k = {{5}}> {{
      y, at = TopK <axis = 1, largest = {largest}> (x, k)
    }}"""
    assert_equals_onnxruntime(text, RNG.integers(0, 4, (4, 9)))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_of_windows_and_planes(p: int) -> None:
    """Padding counts as zeros, and so does what a size that is rounded up adds."""
    text = f"""g (float[2, 3, 7, 8] x) => (float[a, b, c, d] y, float[2, 3, 1, 1] z) {{
      y = LpPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1], p = {p}> (x)
      z = GlobalLpPool <p = {p}> (x)
    }}"""
    assert_equals_onnxruntime(text, RNG.normal(size=(2, 3, 7, 8)).astype(np.float32))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grids_that_reach_far_outside(mode: str, padding: str) -> None:
    nodes = "".join(
        f'y{align} = GridSample <mode = "{mode}", padding_mode = "{padding}", align_corners = {align}> (x, grid)\n'
        for align in (0, 1)
    )
    text = (
        f"g (float[2, 3, 5, 1] x, float[2, 6, 7, 2] grid) => (float[a, b, c, d] y0, float[e, f, g, h] y1) {{ {nodes} }}"
    )
    grid = RNG.normal(0, 3, (2, 6, 7, 2)).astype(np.float32)
    assert_equals_onnxruntime(text, RNG.normal(size=(2, 3, 5, 1)).astype(np.float32), grid, error=1e-5)


@pytest.mark.parametrize("places", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize(("mode", "ratio"), [("avg", 0), ("avg", 3), ("max", 1), ("max", 0)])
def test_regions_inside_and_outside(mode: str, ratio: int, places: str) -> None:
    text = f"""g (float[2, 3, 9, 8] x, float[6, 4] rois, int64[6] at) => (float[6, 3, 2, 3] y) {{
      y = RoiAlign <output_height = 2, output_width = 3, spatial_scale = 0.5, sampling_ratio = {ratio}, mode = "{mode}",
        coordinate_transformation_mode = "{places}"> (x, rois, at)
    }}"""
    rois = [[0, 0, 16, 18], [2, 3, 9, 9.5], [5, 5, 5, 5], [-30, -3, 3, 9], [4, 6, 40, 60], [9, 9, 2, 3]]
    x = RNG.normal(size=(2, 3, 9, 8)).astype(np.float32)
    assert_equals_onnxruntime(text, x, np.asarray(rois, np.float32), np.array([0, 1, 0, 1, 0, 1]))
