"""Small integer graphs made by hand, one with every integer op that a convolutional network uses."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, Graph, Quantization, TensorType, parse_type
from npuq.ir.arithmetic import accumulator_interval, common_multipliers, multipliers_and_shifts
from npuq.ir.ops.elementwise import Maximum
from npuq.ir.ops.npu.division import Div
from npuq.ir.ops.npu.matrix import BatchMatMul, MatMul
from npuq.ir.ops.npu.norm import LayerNorm, RmsNorm
from npuq.ir.ops.npu.pointwise import Add, Lut, Mul, Requantize, Softmax
from npuq.ir.ops.npu.reduce import ReduceSum
from npuq.ir.ops.npu.window import AveragePool2d, Conv2d, MaxPool2d, ResizeLinear
from npuq.ir.ops.reduce import ArgMax
from npuq.ir.ops.shape import Concat, Reshape, Transpose

RESCALERS = (11, 62)


class Maker:
    """A builder of integer graphs with random constants."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.builder = Builder(name)
        self.random = np.random.default_rng(seed)

    def rescale(self, *reals: float, least: int = 31) -> tuple[str, str]:
        """Constants (M, s) of real factors."""
        multipliers, shifts, _ = multipliers_and_shifts(np.array(reals), (least, 62))
        return self.builder.constant(multipliers, "m"), self.builder.constant(shifts, "s")

    def weights(self, *shape: int) -> tuple[str, str, np.ndarray, np.ndarray]:
        """Weights with a scale per last axis, and a bias."""
        w = self.random.integers(-127, 128, shape).astype(np.int8)
        bias = self.random.integers(-2000, 2000, shape[-1:]).astype(np.int32)
        scales = tuple(float(scale) for scale in self.random.uniform(0.001, 0.01, shape[-1]).astype(np.float32))
        quant = Quantization(scales, (0,) * len(scales), len(shape) - 1)
        return self.builder.constant(w, "w", quant), self.builder.constant(bias, "b"), w, bias

    def gains(self, count: int) -> tuple[str, str, str]:
        """Multipliers, biases and the shift of a normalization whose elements have 27 fraction bits."""
        multipliers = self.random.integers(-(1 << 31) + 1, 1 << 31, count).astype(np.int32)
        biases = self.random.integers(-(1 << 58), 1 << 58, count)
        shift = np.array([53], np.int32)
        constant = self.builder.constant
        return constant(multipliers, "gain"), constant(biases, "bias"), constant(shift, "s")

    def conv(self, x: str, shape: tuple[int, int, int, int], scale: float, name: str, **attributes: object) -> str:
        """A convolution with random weights."""
        w, b, weights, bias = self.weights(*shape)
        op = Conv2d(accumulator=accumulator_interval(weights, bias, -128, 127), **attributes)  # type: ignore[arg-type]  # given by the tests
        factors = self.rescale(*self.random.uniform(1e-4, 1e-2, shape[-1]))
        return self.builder.add(op, x, w, b, *factors, name=name, loc=f"net.onnx:{name}", quant=per_tensor(scale))


def per_tensor(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization.per_tensor(scale, zero_point)


def small() -> Graph:
    """A convolution, a skip, a table and a classifier."""
    maker = Maker("small")
    builder = maker.builder
    x = builder.input("x", parse_type("q8<0.5>[2,6,6,3]"))
    a = maker.conv(x, (3, 3, 3, 4), 0.25, "a", padding=((1, 1), (1, 1)), stride=(2, 2), low=0)
    b = maker.conv(a, (1, 1, 4, 4), 0.5, "b")
    m, s = common_multipliers(np.array([0.25 / 0.375, -0.5 / 0.375]), RESCALERS)
    most = int(np.abs(m.astype(np.int64)).sum()) * 128
    c = builder.add(
        Add(accumulator=(-most, most)),
        *(a, b, builder.constant(m, "m"), builder.constant(s, "s")),
        name="c",
        loc="net.onnx:c",
        quant=per_tensor(0.375),
    )
    table = maker.random.integers(-128, 128, 256).astype(np.int8)
    d = builder.add(Lut(), c, builder.constant(table, "t"), name="d", quant=per_tensor(0.125))
    e = builder.add(
        ReduceSum(axes=(1, 2), accumulator=(-128 * 9, 127 * 9)),
        *(d, *maker.rescale(0.125 / 9 / 0.0625)),
        name="e",
        quant=per_tensor(0.0625),
    )
    w, bias, weights, numbers = maker.weights(4, 5)
    y = builder.add(
        MatMul(accumulator=accumulator_interval(weights, numbers, -128, 127)),
        *(e, w, bias, *maker.rescale(*maker.random.uniform(1e-4, 1e-2, 5))),
        name="y",
        quant=per_tensor(0.75),
    )
    return builder.build({"logits": y, "hidden": d})


def every_op() -> Graph:
    """Every integer op of the npu dialect, and the ops that it shares with the float level."""
    maker = Maker("every-op", 1)
    builder = maker.builder
    x = builder.input("x", parse_type("q8<0.5>[1,8,8,4]"))
    other = builder.input("other", parse_type("q8<0.25>[1,4,4,8]"))
    depthwise = maker.conv(x, (3, 3, 1, 4), 0.5, "depthwise", padding=((1, 1), (1, 1)), groups=4)
    spread = maker.conv(depthwise, (2, 2, 4, 8), 0.25, "spread", expand=(2, 2), padding=((1, 1), (1, 1)))
    pooled = builder.add(MaxPool2d(window=(4, 4), stride=(4, 4)), spread, name="pooled")
    pooled_quant = builder.types[pooled].quant
    average = builder.add(
        AveragePool2d(window=(2, 2), stride=(1, 1), accumulator=(-512, 508)),
        *(other, *maker.rescale(0.25)),
        name="average",
        quant=per_tensor(0.25),
    )
    resized = builder.add(
        ResizeLinear(accumulator=(-128 << 22, 127 << 22)),
        *(average, *_interpolation(builder, 3, 4), *maker.rescale(2.0**-22)),
        name="resized",
        quant=per_tensor(0.25),
    )
    rescaled = builder.add(
        Requantize(accumulator=(-128, 127)), pooled, *maker.rescale(0.75, least=11), name="rescaled", quant=pooled_quant
    )
    joined = builder.add(Concat(axis=1), _crop(builder, rescaled), _crop(builder, resized), name="joined")
    product = builder.add(
        Mul(accumulator=(-128 * 127, 128 * 128)),
        joined,
        joined,
        *maker.rescale(0.01),
        name="product",
        quant=per_tensor(0.5),
    )
    factors = maker.gains(8)
    layer = builder.add(
        LayerNorm(axis=2, fraction=15, epsilon=40), product, *factors, name="layer", quant=per_tensor(0.05)
    )
    quotient = builder.add(Div(factor=5, shift=2), layer, joined, name="quotient", quant=per_tensor(0.5))
    rms = builder.add(RmsNorm(axis=2, fraction=15), quotient, *factors, name="rms", quant=per_tensor(0.05))
    greatest = builder.add(Maximum(), rms, rms, name="greatest")
    rows = builder.add(Reshape(shape=(1, -1 % 1 + builder.types[greatest].size // 8, 8)), greatest, name="rows")
    columns = builder.add(Transpose(order=(0, 2, 1)), rows, name="columns")
    scores = builder.add(
        BatchMatMul(accumulator=(-(128 * 128) * 8, (128 * 128) * 8)),
        *(rows, columns, *maker.rescale(0.001)),
        name="scores",
        quant=per_tensor(0.1),
    )
    table = np.rint(np.exp(np.arange(-255, 1) * 0.1) * (1 << 30)).astype(np.int32)
    soft = builder.add(
        Softmax(axis=2, steps=127), scores, builder.constant(table, "exp"), name="soft", quant=per_tensor(1 / 127)
    )
    best = builder.add(ArgMax(axis=2, keep=False), soft, name="best")
    return builder.build({"soft": soft, "best": best, "spread": spread})


def _interpolation(builder: Builder, size: int, wanted: int) -> tuple[str, str]:
    """Rows and columns of weights that sum to 2^11."""
    weights = np.zeros((wanted, size), np.int16)
    for index, at in enumerate(np.linspace(0, size - 1, wanted)):
        low = min(int(at), size - 2)
        weights[index, low + 1] = round((at - low) * 2048)
        weights[index, low] = 2048 - weights[index, low + 1]
    name = builder.constant(weights, "interpolation")
    return name, name


def _crop(builder: Builder, value: str) -> str:
    """A value as [1, -1, 8]."""
    return builder.add(Reshape(shape=(1, builder.types[value].size // 8, 8)), value, name=f"{value}.rows")


def inputs_of(graph: Graph, seed: int = 0, runs: int = 1) -> tuple[np.ndarray, ...]:
    """Random integers for every input, extremes among them."""
    random = np.random.default_rng(seed)
    return tuple(_integers(random, type_, runs) for type_ in graph.input_types)


def _integers(random: np.random.Generator, type_: TensorType, runs: int) -> np.ndarray:
    low, high = type_.dtype.range
    shape = (type_.shape[0] * runs, *type_.shape[1:])
    values = random.integers(low, high + 1, shape)
    return np.where(random.random(shape) < 0.1, random.choice([low, high], shape), values).astype(type_.dtype.numpy)
