"""Float convolutions whose borders are cut and padded at once, against sums over the window."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from npuq.ir import Builder, Graph, evaluate, parse_type
from npuq.ir.ops.conv import Conv, ConvTranspose

Pads = tuple[tuple[int, int], tuple[int, int]]


def convolved(x: np.ndarray, w: np.ndarray, padding: Pads) -> np.ndarray:
    """A convolution of stride 1 over a border of zeros, after what negative widths cut."""
    for axis, (before, after) in enumerate(padding, 2):
        x = np.take(x, range(max(-before, 0), x.shape[axis] - max(-after, 0)), axis)
    x = np.pad(x, [(0, 0), (0, 0), *((max(before, 0), max(after, 0)) for before, after in padding)])
    height, width = (size - side + 1 for size, side in zip(x.shape[2:], w.shape[2:], strict=True))
    total = np.zeros((x.shape[0], w.shape[0], height, width))
    for i, j in itertools.product(*map(range, w.shape[2:])):
        total += np.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j])
    return total


@pytest.mark.parametrize("window", [(2, 2), (3, 3), (3, 1)])
@pytest.mark.parametrize("padding", [((0, -1), (-1, 1)), ((-1, 2), (0, 0)), ((0, 0), (1, -2)), ((-1, -1), (2, 2))])
def test_an_axis_may_be_cut_at_one_end_and_padded_at_the_other(window: tuple[int, int], padding: Pads) -> None:
    random = np.random.default_rng(5)
    x, w = (random.normal(size=sizes).astype(np.float32) for sizes in ((1, 2, 6, 7), (3, 2, *window)))
    wanted = convolved(x, w, padding)
    pads = tuple((k - 1 - before, k - 1 - after) for k, (before, after) in zip(window, padding, strict=True))
    turned = np.ascontiguousarray(np.flip(w, (2, 3)).swapaxes(0, 1))
    one = (1, 1)
    ops = (
        (Conv(stride=one, padding=padding, dilation=one), w),
        (ConvTranspose(stride=one, padding=pads, dilation=one, output_padding=(0, 0)), turned),
    )
    for op, weights in ops:
        builder = Builder("net")
        y = builder.add(op, builder.input("x", parse_type("f32[1,2,6,7]")), builder.constant(weights))
        graph: Graph = builder.build({"y": y})
        np.testing.assert_allclose(evaluate(graph)(x)[0], wanted, atol=1e-5)
