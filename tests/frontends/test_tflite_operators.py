"""Every TFLite operator computes what LiteRT's reference kernel computes: one file that holds them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npuq.frontends import load
from npuq.frontends.tflite.registry import CONVERTERS
from npuq.ir import evaluate

from .tflite_models import Net, computed, reference

Options = dict[str, Any]

SHAPE = (2, 6, 7, 4)
SAME, VALID = 0, 1
FLOAT_KERNELS = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
"""LiteRT's reference kernels lack some operators on floats."""

RNG = np.random.default_rng(5)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


class All:
    """The file under construction; `x` and `y` are any numbers, `p` positive ones, `i` small integers."""

    def __init__(self) -> None:
        self.net = Net()
        self.x, self.y, self.p = (self.net.tensor(name, SHAPE) for name in "xyp")
        self.i = self.net.tensor("i", SHAPE, "int32")
        self.outputs: dict[str, int] = {}

    def out(self, name: str, dtype: str = "float32") -> int:
        self.outputs[name] = self.net.tensor(name, dtype=dtype)
        return self.outputs[name]

    def op(
        self, operator: str, *inputs: int, dtype: str = "float32", count: int = 1, **options: Any
    ) -> tuple[int, ...]:
        """Add an operator with results of its own."""
        name = f"{operator}.{len(self.outputs)}"
        results = tuple(self.out(f"{name}.{index}" if count > 1 else name, dtype) for index in range(count))
        self.net.add(operator, inputs, results, **options)
        return results


def windows(a: All) -> None:
    n = a.net
    sliding: Options = {"strideH": 2, "strideW": 1}
    dilated: Options = {"strideH": 1, "strideW": 1, "dilationHFactor": 2, "dilationWFactor": 1}
    dense, bias = n.tensor("w", array=weights(5, 3, 3, 4)), n.tensor("b", array=weights(5))
    a.op("CONV_2D", a.x, dense, bias, padding=SAME, fusedActivationFunction=1, **sliding)
    a.op("CONV_2D", a.x, dense, bias, padding=VALID, fusedActivationFunction=3, **dilated)
    a.op(
        "CONV_2D",
        a.x,
        n.tensor("g", array=weights(6, 3, 2, 2)),
        n.tensor("six", array=weights(6)),
        padding=SAME,
        **sliding,
    )
    deep = n.tensor("d", array=weights(1, 3, 3, 8))
    a.op("DEPTHWISE_CONV_2D", a.x, deep, n.tensor("e", array=weights(8)), depthMultiplier=2, padding=SAME, **sliding)
    up = n.tensor("u", array=weights(3, 3, 3, 4))
    strides: Options = {"strideH": 2, "strideW": 2}
    a.op("TRANSPOSE_CONV", n.known(2, 12, 14, 3), up, a.x, padding=SAME, **strides)
    a.op("TRANSPOSE_CONV", n.known(2, 14, 16, 3), up, a.x, padding=VALID, **strides)
    for kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"):
        a.op(kind, a.x, padding=SAME, filterHeight=3, filterWidth=2, fusedActivationFunction=2, **strides)
        a.op(kind, a.x, padding=VALID, filterHeight=2, filterWidth=3, **strides)
    grids: tuple[Options, ...] = ({}, {"alignCorners": True}, {"halfPixelCenters": True})
    for options in grids:
        for size in ((12, 9), (3, 5)):
            a.op("RESIZE_BILINEAR", a.x, n.known(*size), **options)
            a.op("RESIZE_NEAREST_NEIGHBOR", a.x, n.known(*size), **options)
    a.op("LOCAL_RESPONSE_NORMALIZATION", a.x, radius=1, bias=1.0, alpha=0.5, beta=0.75)


def products(a: All) -> None:
    n = a.net
    matrix, bias = n.tensor("m", array=weights(3, 4)), n.tensor("n", array=weights(3))
    a.op("FULLY_CONNECTED", a.x, matrix, bias, keepNumDims=True, fusedActivationFunction=1)
    a.op("FULLY_CONNECTED", a.x, n.tensor("o", array=weights(3, 28)), -1)
    a.op("BATCH_MATMUL", a.x, a.y, adjX=True)
    a.op("BATCH_MATMUL", a.x, a.y, adjY=True)


def pointwise(a: All) -> None:
    n = a.net
    for kind in ("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6"):
        a.op(kind, a.x)
    for kind in ("RELU_N1_TO_1", "RELU_0_TO_1", "ROUND", "SIN", "SQUARE", "TANH", "SIGN", "ZEROS_LIKE"):
        a.op(kind, a.x)
    for kind in ("LOG", "RSQRT", "SQRT"):
        a.op(kind, a.p)
    row = n.tensor("row", array=weights(4))
    for kind in ("ADD", "SUB", "MUL", "DIV"):
        a.op(kind, a.x, a.p, fusedActivationFunction=1)
        a.op(kind, row, a.p)
    for kind in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD"):
        a.op(kind, a.x, a.p)
    a.op("FLOOR_DIV", a.i, n.known(3), dtype="int32")
    a.op("FLOOR_MOD", a.i, n.known(3), dtype="int32")
    a.op("POW", a.p, a.x)
    a.op("ADD_N", a.x, a.y, a.p)
    a.op("LEAKY_RELU", a.x, alpha=0.2)
    a.op("PRELU", a.x, n.tensor("slope", array=weights(1, 1, 4)))
    for approximate in (False, True):
        a.op("GELU", a.x, approximate=approximate)
    bools = [a.op(kind, a.x, a.y, dtype="bool")[0] for kind in ("LESS", "GREATER_EQUAL")]
    for kind in ("GREATER", "LESS_EQUAL", "EQUAL", "NOT_EQUAL"):
        a.op(kind, a.x, a.y, dtype="bool")
    a.op("LOGICAL_AND", *bools, dtype="bool")
    a.op("LOGICAL_OR", *bools, dtype="bool")
    a.op("LOGICAL_NOT", bools[0], dtype="bool")
    a.op("SELECT", bools[0], a.x, a.y)
    a.op("SELECT_V2", bools[1], a.x, row)
    a.op("CAST", a.i, inDataType=2, outDataType=0)
    a.op("CAST", a.x, dtype="int32", inDataType=0, outDataType=2)
    half = n.tensor("half", array=weights(6, 7, 4).astype(np.float16))
    (wide,) = a.op("DEQUANTIZE", half)
    a.op("MUL", a.x, wide)


def reductions(a: All) -> None:
    n = a.net
    for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        a.op(kind, a.x, n.known(1, 2), keepDims=True)
        a.op(kind, a.x, n.known(-1), keepDims=False)
    a.op("ARG_MAX", a.x, n.known(-1), dtype="int32", outputType=2)
    a.op("ARG_MIN", a.x, n.known(1), dtype="int64", outputType=4)
    count = n.tensor("count", array=np.asarray(3, np.int32))
    n.add("TOPK_V2", (a.x, count), (a.out("greatest"), a.out("places", "int32")))
    a.op("SOFTMAX", a.x, beta=1.0)
    a.op("SOFTMAX", a.x, beta=0.5)
    a.op("LOG_SOFTMAX", a.x)
    a.op("L2_NORMALIZATION", a.x)
    a.op("CUMSUM", a.x, n.known(1), exclusive=True, reverse=True)


def movement(a: All) -> None:
    n = a.net
    a.op("RESHAPE", a.x, n.known(2, -1, 4), newShape=[2, -1, 4])
    a.op("TRANSPOSE", a.x, n.known(3, 0, 2, 1))
    a.op("EXPAND_DIMS", a.x, n.known(-2))
    (wide,) = a.op("EXPAND_DIMS", a.x, n.known(0))
    a.op("SQUEEZE", wide, squeezeDims=[0])
    a.op("SQUEEZE", wide, squeezeDims=[])
    a.op("CONCATENATION", a.x, a.y, axis=-1)
    a.op("PACK", a.x, a.y, axis=2, valuesCount=2)
    a.op("UNPACK", a.x, count=4, axis=-1, num=4)
    a.op("SPLIT", n.known(1), a.x, count=3, numSplits=3)
    a.op("SPLIT_V", a.x, n.known(1, 4, 2), n.known(2), count=3, numSplits=3)
    a.op("SLICE", a.x, n.known(0, 1, 2, 0), n.known(-1, 3, -1, 2))
    masks: Options = {"beginMask": 1, "endMask": 4, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 8}
    a.op("STRIDED_SLICE", a.x, n.known(1, -2, 1, 2), n.known(2, 0, 1, 3), n.known(1, -1, 2, 1), **masks)
    masks = {"beginMask": 0, "endMask": 0, "ellipsisMask": 2, "newAxisMask": 4, "shrinkAxisMask": 0}
    a.op("STRIDED_SLICE", a.x, n.known(0, 0, 0, 1), n.known(1, 0, 0, 3), n.known(1, 1, 1, 1), **masks)
    a.op("GATHER", a.x, n.known(3, 0, 2), axis=1)
    a.op("EMBEDDING_LOOKUP", n.known(1, 0), a.x)
    around = n.known(0, 0, 1, 2, 0, 3, 0, 0, shape=(4, 2))
    a.op("PAD", a.x, around)
    a.op("PADV2", a.x, around, n.known(0.5, dtype="float32"))
    a.op("MIRROR_PAD", a.x, around, mode=0)
    a.op("TILE", a.x, n.known(1, 2, 1, 3))
    a.op("BROADCAST_TO", n.tensor("thin", array=weights(1, 1, 4)), n.known(2, 3, 4))
    a.op("SPACE_TO_DEPTH", n.tensor("even", array=weights(2, 4, 6, 3)), blockSize=2)
    a.op("DEPTH_TO_SPACE", a.x, blockSize=2)
    a.op("REVERSE_V2", a.x, n.known(1, 2))
    a.op("SHAPE", a.x, dtype="int32", outType=2)
    a.op("RANK", a.x, dtype="int32")
    a.op("FILL", n.known(2, 3), n.tensor("seven", array=np.asarray(7, np.float32)))
    crops = n.known(0, 2, 1, 0, shape=(2, 2))
    (batches,) = a.op("SPACE_TO_BATCH_ND", a.x, n.known(2, 4), crops)
    a.op("BATCH_TO_SPACE_ND", batches, n.known(2, 4), crops)
    a.op("GATHER_ND", a.x, n.known(0, 1, 1, 5, shape=(2, 2)))
    a.op("RANGE", *(n.tensor(f"r{v}", array=np.asarray(v, np.int32)) for v in (1, 9, 3)), dtype="int32")
    a.op(
        "ONE_HOT",
        n.known(1, 0, 5),
        *(n.tensor(f"o{v}", array=np.asarray(v, np.int32)) for v in (4,)),
        *(n.tensor(f"h{v}", array=np.asarray(v, np.float32)) for v in (2, -1)),
        axis=-1,
    )


GROUPS: tuple[Callable[[All], None], ...] = (windows, products, pointwise, reductions, movement)


@pytest.mark.parametrize("group", GROUPS)
def test_operators_compute_what_litert_computes(group: Callable[[All], None], tmp_path: Path) -> None:
    a = All()
    group(a)
    inputs = (a.x, a.y, a.p, a.i)
    path = a.net.save(tmp_path / "all.tflite", inputs, tuple(a.outputs.values()))
    arrays = [RNG.normal(size=SHAPE).astype(np.float32) * 2 for _ in "xy"]
    arrays += [RNG.uniform(0.5, 3, SHAPE).astype(np.float32), RNG.integers(-9, 9, SHAPE).astype(np.int32)]
    wanted = computed(reference(path, FLOAT_KERNELS), dict(zip(inputs, arrays, strict=True)), tuple(a.outputs.values()))
    found = evaluate(load(path))(*arrays)
    for name, ours, theirs in zip(a.outputs, map(np.asarray, found), wanted, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=name)


def test_every_operator_is_among_them() -> None:
    tried: set[str] = set()
    for group in GROUPS:
        a = All()
        group(a)
        tried |= a.net.codes.keys()
    assert CONVERTERS.keys() - tried == {"QUANTIZE"}


def test_the_guide_lists_every_operator() -> None:
    guide = (Path(__file__).parents[2] / "docs/frontends.md").read_text(encoding="utf-8")
    _, _, section = guide.partition("## TFLite")
    listed = section.partition("* Operators: ")[2].partition(".\n")[0]
    assert sorted(listed.replace(",", " ").split()) == sorted(CONVERTERS)
