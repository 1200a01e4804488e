"""One or more examples of every op: `test_laws.py` proves the laws on them and fails where an op has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from npuq.ir import DType, Op, TensorType, parse_type
from npuq.ir.ops import (
    activation,
    conv,
    elementwise,
    logic,
    norm,
    pool,
    quant,
    recurrent,
    reduce,
    resize,
    sample,
    scatter,
    shape,
)
from npuq.ir.ops.npu import division as npu_division
from npuq.ir.ops.npu import interpolate as npu_interpolate
from npuq.ir.ops.npu import matrix as npu_matrix
from npuq.ir.ops.npu import norm as npu_norm
from npuq.ir.ops.npu import pointwise as npu_pointwise
from npuq.ir.ops.npu import recurrent as npu_recurrent
from npuq.ir.ops.npu import reduce as npu_reduce
from npuq.ir.ops.npu import softmax as npu_softmax
from npuq.ir.ops.npu import window as npu_window


@dataclass(frozen=True)
class Example:
    """An op and the types of operands that fit it."""

    op: Op
    operands: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"{self.op!r} {', '.join(map(str, self.operands))}"


def example(op: Op, *operands: str) -> Example:
    """An op and its operands' types in the text's notation."""
    return Example(op, tuple(map(parse_type, operands)))


POINTWISE = (
    *(
        example(op, "f32[2,3]")
        for op in (
            *(elementwise.Abs(), elementwise.Neg(), elementwise.Sign(), elementwise.Reciprocal(), elementwise.Sqrt()),
            *(elementwise.Exp(), elementwise.Log(), elementwise.Erf(), elementwise.Sin(), elementwise.Cos()),
            *(elementwise.Floor(), elementwise.Ceil(), elementwise.Round(), elementwise.Identity()),
            *(elementwise.Tan(), elementwise.Asin(), elementwise.Acos(), elementwise.Atan(), elementwise.Sinh()),
            *(elementwise.Cosh(), elementwise.Asinh(), elementwise.Acosh(), elementwise.Atanh()),
            *(activation.Relu(), activation.Clip(low=0.0, high=6.0), activation.Clip(), activation.LeakyRelu()),
            *(activation.Sigmoid(), activation.Tanh(), activation.HardSigmoid(alpha=1 / 6), activation.HardSwish()),
            *(activation.Silu(), activation.Mish(), activation.Elu(alpha=0.5), activation.Selu(), activation.Celu()),
            *(activation.Softplus(), activation.Softsign(), activation.Gelu(), activation.Gelu(approximate="tanh")),
        )
    ),
    example(elementwise.Identity(), "q8<0.5>[4]"),
    example(elementwise.Abs(), "i8[4]"),
    example(elementwise.Sign(), "u8[4]"),
    example(activation.Clip(low=-3.0), "i64[4]"),
    example(activation.Relu(), "f16[4]"),
    example(activation.Gelu(), "bf16[4]"),
    example(activation.PRelu(), "f32[2,3,4]", "f32[3,1]"),
    *(
        example(op, *operands)
        for op in (
            *(elementwise.Add(), elementwise.Sub(), elementwise.Mul(), elementwise.Div(), elementwise.Pow()),
            *(elementwise.Mod(), elementwise.Mod(truncate=True), elementwise.Maximum(), elementwise.Minimum()),
        )
        for operands in (("f32[2,1,3]", "f32[4,1]"), ("i64[3]", "i64[]"))
    ),
    example(elementwise.Hypot(), "f32[2,1,3]", "f32[4,1]"),
    example(elementwise.Maximum(), "q8<0.25:3>[2,3]", "q8<0.25:3>[3]"),
    example(elementwise.Minimum(), "q8<0.25>[2,3]", "q8<0.25>[2,1]"),
)

LOGIC = (
    *(
        example(op, *operands)
        for op in (*(logic.Equal(), logic.Greater(), logic.GreaterOrEqual(), logic.Less(), logic.LessOrEqual()),)
        for operands in (("f32[2,3]", "f32[3]"), ("i64[2]", "i64[2]"))
    ),
    *(example(op, "bool[2,3]", "bool[2,1]") for op in (logic.And(), logic.Or(), logic.Xor())),
    example(logic.Not(), "bool[2]"),
    example(logic.IsNan(), "f32[2]"),
    *(example(logic.IsInf(positive=sign, negative=not sign), "f32[2,3]") for sign in (False, True)),
    *(example(op, "i32[2,3]", "i32[3]") for op in (logic.BitwiseAnd(), logic.BitwiseOr(), logic.BitwiseXor())),
    example(logic.BitwiseXor(), "u64[2]", "u64[2]"),
    example(logic.BitwiseNot(), "i8[2]"),
    *(example(op, "u8[2,3]", "u8[3]") for op in (logic.ShiftLeft(), logic.ShiftRight())),
    example(logic.Where(), "bool[3]", "f32[2,1]", "f32[1,3]"),
    example(logic.Where(), "bool[3]", "q8<0.5>[3]", "q8<0.5>[3]"),
    example(logic.Cast(to=DType.I64), "f32[3]"),
    example(logic.Cast(to=DType.BOOL), "f32[3]"),
    example(logic.Cast(to=DType.F16), "u8[3]"),
)

REDUCE = (
    *(
        example(kind(axes=axes, keep=keep), "f32[2,3,4]")
        for kind in (
            *(reduce.ReduceSum, reduce.ReduceProd, reduce.ReduceMean, reduce.ReduceLogSumExp),
            *(reduce.ReduceMax, reduce.ReduceMin),
        )
        for axes, keep in (((0, 2), True), ((1,), False), ((), False))
    ),
    example(reduce.ReduceSum(axes=(0,)), "i32[2,3]"),
    example(reduce.ReduceProd(axes=(0,)), "i64[2]"),
    example(reduce.ReduceMax(axes=(1,)), "q8<0.5:-7>[2,3]"),
    example(reduce.ReduceMin(axes=(1,)), "f32[2,0]"),
    example(reduce.ReduceMax(axes=(0,)), "bool[2]"),
    example(reduce.ArgMax(axis=1), "f32[2,3]"),
    example(reduce.ArgMax(axis=0, keep=True, last=True), "q8<0.5>[2,3]"),
    example(reduce.ArgMin(axis=1, keep=True), "i32[2,3]"),
    *(example(reduce.CumSum(axis=1, exclusive=turn, reverse=turn), "f32[2,3]") for turn in (False, True)),
    example(reduce.Softmax(axis=1), "f32[2,3]"),
    example(reduce.LogSoftmax(axis=0), "f32[2,3]"),
)

SHAPE = (
    example(shape.Reshape(shape=(3, 2)), "q8<0.5>[2,3]"),
    example(shape.Transpose(order=(1, 2, 0)), "q8<axis=0: 0.5, 0.25>[2,3,4]"),
    example(shape.Slice(starts=(1, 4), stops=(3, -1), steps=(1, -2)), "f32[3,5]"),
    example(shape.Slice(starts=(2,), stops=(2,), steps=(1,)), "q8<0.5>[4]"),
    example(shape.Concat(axis=1), "f32[2,1]", "f32[2,3]", "f32[2,0]"),
    example(shape.Concat(axis=0), "q8<0.5>[2]", "q8<0.5>[1]"),
    example(shape.Pad(padding=((0, 0), (1, 2)), value=-128.0), "q8<0.5:-128>[2,3]"),
    *(example(shape.Pad(padding=((1, 2),), mode=mode), "f32[3]") for mode in ("edge", "reflect", "wrap")),
    example(shape.Tile(repeats=(2, 1, 3)), "f32[2,1,2]"),
    example(shape.Expand(shape=(4, 2, 3)), "f32[2,1]"),
    example(shape.Gather(axis=1), "f32[2,3,4]", "i64[5,6]"),
    example(shape.Gather(axis=0), "q8<0.5>[3]", "i32[]"),
    example(shape.GatherElements(axis=1), "f32[2,3]", "i64[1,5]"),
)

PLACES = (
    example(scatter.GatherNd(), "f32[2,3,4]", "i64[5,2]"),
    example(scatter.GatherNd(batch=1), "q8<0.5>[2,3,4]", "i32[2,6,1]"),
    example(scatter.ScatterNd(), "q8<0.5>[5,3,4]", "i64[2,1]", "q8<0.5>[2,3,4]"),
    example(scatter.ScatterNd(), "f32[5,3]", "i64[2,1]", "f32[2,3]"),
    *(
        example(scatter.ScatterNd(reduction=reduction), "f32[2,3]", "i64[4,2]", "f32[4]")
        for reduction in ("add", "mul", "max", "min")
    ),
    example(scatter.ScatterElements(axis=1), "f32[3,4]", "i64[2,3]", "f32[2,3]"),
    example(scatter.ScatterElements(axis=0, reduction="add"), "i32[2,3]", "i32[4,2]", "i32[4,2]"),
    example(reduce.TopK(axis=1, count=2), "f32[2,3]"),
    example(reduce.TopK(axis=0, count=2, largest=False), "q8<0.5>[2,3]"),
)

SAMPLE = (
    *(
        example(op, "f32[2,3,4,5]", "f32[2,3,2,2]")
        for op in (
            sample.GridSample(),
            sample.GridSample(padding="border", align_corners=True),
            sample.GridSample(padding="reflection", align_corners=True),
            sample.GridSample(mode="nearest", align_corners=True),
            sample.GridSample(mode="nearest", padding="border"),
            sample.GridSample(mode="nearest", padding="reflection"),
            sample.GridSample(mode="cubic"),
            sample.GridSample(mode="cubic", padding="border", align_corners=True),
            sample.GridSample(mode="cubic", padding="reflection"),
        )
    ),
    example(sample.GridSample(padding="reflection"), "f32[1,2,3,4,5]", "f32[1,2,2,3,3]"),
    *(
        example(op, "f32[2,3,6,5]", "f32[4,4]", "i64[4]")
        for op in (
            sample.RoiAlign(shape=(2, 3), scale=0.5),
            sample.RoiAlign(shape=(2, 3), ratio=2, centred=False),
            sample.RoiAlign(shape=(2, 2), ratio=2, mode="max"),
        )
    ),
)

RESIZE = (
    example(resize.Resize(shape=(1, 1, 4, 6), scales=(1.0, 1.0, 2.0, 2.0)), "q8<0.5>[1,1,2,3]"),
    example(resize.Resize(shape=(1, 5), scales=(1.0, 1.7), mode="linear", coordinates="align_corners"), "f32[1,3]"),
    example(resize.Resize(shape=(7,), scales=(1.4,), mode="cubic", exclude_outside=True), "f32[5]"),
    example(
        resize.Resize(shape=(1, 1, 4, 3), scales=(1.0, 1.0, 0.4, 0.5), mode="linear", antialias=True), "f32[1,1,10,6]"
    ),
    example(
        resize.Resize(
            shape=(3, 3),
            scales=(1.0, 1.0),
            mode="linear",
            coordinates="tf_crop_and_resize",
            roi=((0.0, 1.0), (-0.5, 1.5)),
            extrapolation=9.0,
        ),
        "f32[3,3]",
    ),
)

CONV = (
    example(
        conv.Conv(stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 2), groups=2),
        *("f32[2,4,9,8]", "f32[6,2,3,3]", "f32[6]"),
    ),
    example(conv.Conv(stride=(1,), padding=((2, 0),), dilation=(2,), groups=3), "f32[1,3,8]", "f32[6,1,3]"),
    example(conv.Conv(stride=(1, 2, 1), padding=((0, 0),) * 3, dilation=(1, 1, 1)), "f16[1,2,4,5,6]", "f16[3,2,1,2,3]"),
    example(
        conv.ConvTranspose(stride=(2, 3), padding=((1, 0), (0, 4)), dilation=(1, 2), groups=2, output_padding=(1, 0)),
        *("f32[2,4,3,5]", "f32[4,3,2,3]", "f32[6]"),
    ),
    example(
        conv.ConvTranspose(stride=(1,), padding=((-1, 0),), dilation=(1,), output_padding=(0,)),
        *("f32[1,2,4]", "f32[2,3,2]"),
    ),
    *(
        example(conv.MatMul(), *operands)
        for operands in (
            *(("f32[2,1,3,4]", "f32[5,4,6]", "f32[6]"), ("f32[4]", "f32[2,4,3]"), ("f32[3,4]", "f32[4]")),
            *(("i32[4]", "i32[4]"), ("f16[3,4]", "f16[4,2]", "f16[2]")),
        )
    ),
)

WINDOW = (
    example(norm.BatchNorm(epsilon=0.5), "f32[2,3,4]", *("f32[3]",) * 4),
    *(
        example(op, "f32[2,3,7,6]")
        for op in (
            pool.MaxPool(window=(3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 2)),
            pool.MaxPoolPlaces(window=(3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 2)),
            pool.AveragePool(window=(3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 2)),
            pool.AveragePool(
                window=(3,) * 2,
                stride=(2, 1),
                padding=((1, 1),) * 2,
                dilation=(1, 1),
                count_padding=True,
                uncounted=(1, 0),
            ),
        )
    ),
    *(
        example(kind(window=(12, 12), stride=(1, 2), padding=((0, 1),) * 2, dilation=(1, 1)), "f32[1,1,14,13]")
        for kind in (pool.MaxPool, pool.AveragePool)
    ),
    example(pool.MaxRoiPool(shape=(2, 3), scale=0.5), "f32[2,3,7,6]", "f32[4,5]"),
    example(pool.MaxPool(window=(2,), stride=(2,), padding=((0, 0),), dilation=(1,)), "q8<0.5:3>[1,2,5]"),
)

NORM = (
    example(norm.LayerNorm(), "f32[2,3,4]", "f32[4]", "f32[4]"),
    example(norm.LayerNorm(axis=1, epsilon=0.5), "f16[2,3,4]", "f16[3,4]"),
    example(norm.RmsNorm(axis=-2), "f32[2,3,4]", "f32[3,4]"),
)

RECURRENT = (
    example(
        recurrent.Lstm(direction="bidirectional", activations=("HardSigmoid(0.3)", "Tanh", "Softsign") * 2, clip=3.0),
        *("f32[5,2,3]", "f32[2,16,3]", "f32[2,16,4]", "f32[2,16]", "f32[2,2,4]", "f32[2,2,4]", "f32[2,12]", "i32[2]"),
    ),
    example(
        recurrent.Lstm(direction="reverse", input_forget=True),
        *("f32[5,1,3]", "f32[1,8,3]", "f32[1,8,2]", "f32[1,8]", "f32[1,1,2]", "f32[1,1,2]"),
    ),
    example(
        recurrent.Gru(linear_before_reset=True),
        *("f16[5,2,3]", "f16[1,6,3]", "f16[1,6,2]", "f16[1,6]", "f16[1,6]", "f16[1,2,2]", "i32[2]"),
    ),
    example(recurrent.Rnn(activations=("Relu",)), "f32[5,2,3]", "f32[1,2,3]", "f32[1,2,2]", "f32[1,2]", "f32[1,2,2]"),
)

QUANT = (
    example(quant.Quantize(scales=(0.5,), zero_points=(3,)), "f32[2,3]"),
    example(quant.Quantize(scales=(0.125,), dtype=DType.I32, low=-524288, high=524287), "f32[2,3]"),
    example(quant.Dequantize(scales=(0.5, 0.25), zero_points=(0, 0), axis=0), "q8<axis=0: 0.5, 0.25>[2,3]"),
)

WIDE: dict[str, Any] = {"low": -32768, "high": 32767, "dtype": DType.I16}

INTEGER = (
    example(
        npu_window.Conv2d(stride=(2, 1), padding=((1, 0), (0, 2)), groups=2, pad_value=3, accumulator=(-99, 99)),
        *("q8<0.5:3>[2,9,8,4]", "q8<axis=3: 0.5, 0.25>[3,3,2,2]", "i32[2]", "i32[2]", "i32[2]"),
    ),
    example(
        npu_window.Conv2d(expand=(2, 2), low=0, high=255, dtype=DType.U8, rounding="tflite_double"),
        *("i16[1,4,4,3]", "i4[2,2,3,5]", "i64[5]", "i32[1]", "i32[1]"),
    ),
    example(npu_matrix.MatMul(low=0), "i8[2,3,4]", "i8[4,5]", "i32[5]", "i32[5]", "i32[5]"),
    example(npu_matrix.BatchMatMul(zero_points=(1, 2)), "i8[6,1,3,4]", "i8[2,4,5]", "i32[1]", "i32[1]"),
    example(npu_pointwise.Add(zero_points=(-1, 2)), "i8[2,1,3]", "i16[4,1]", "i32[2]", "i32[1]"),
    example(npu_pointwise.Add(low=-524288, high=524287, dtype=DType.I32), "i32[2,3]", "i16[3]", "i32[2]", "i32[1]"),
    example(npu_norm.LayerNorm(axis=1, fraction=1), "i32[2,300]", "i32[300]", "i64[300]", "i32[1]"),
    example(npu_pointwise.Mul(zero_points=(-1, 2)), "i8[2,1,3]", "i8[4,1]", "i32[1]", "i32[1]"),
    example(npu_pointwise.Mul(), "i8[]", "i8[]", "i32[1]", "i32[1]"),
    example(npu_pointwise.Requantize(low=-32768, high=32767, dtype=DType.I16), "i32[2,3]", "i32[3]", "i32[3]"),
    example(npu_division.Div(factor=1 << 30, shift=31, zero_points=(-1, 2)), "i8[2,1,3]", "i16[4,1]"),
    example(npu_division.Hypot(weights=(8192, 5), zero_points=(-1, 2)), "i8[2,1,3]", "i16[4,1]", "i32[1]", "i32[1]"),
    example(npu_norm.LayerNorm(axis=1, fraction=18, epsilon=7), "i8[2,3,4]", "i32[3,1]", "i64[3,1]", "i32[1]"),
    example(
        npu_norm.RmsNorm(axis=2, fraction=12, input_zero_point=3, low=-32768, high=32767, dtype=DType.I16),
        *("i16[2,3,4]", "i32[4]", "i64[4]", "i32[1]"),
    ),
    example(
        npu_recurrent.Lstm(
            direction="bidirectional",
            inputs=(11, 12, 12) * 2,
            clip=1 << 21,
            input_forget=True,
            hidden_out=(1 << 30, 53),
            cell_in=(1 << 30, 27),
            cell_out=(1 << 30, 45),
            cell_zero_point=3,
        ),
        *("i8[5,3,4]", "i8[2,8,4]", "i8[2,8,2]", "i64[2,2,8]", "i32[2,2,8]", "i32[2,2,8]", "i16[2,3,257]"),
        *("q8<0.5>[2,3,2]", "i8[2,3,2]", "i32[2,6]", "i32[3]"),
    ),
    example(
        npu_recurrent.Gru(inputs=(11, 12), hidden_in=(1 << 30, 27), hidden_out=(1 << 30, 45), **WIDE),
        *("i16[5,1,4]", "i16[1,6,4]", "i16[1,6,2]", "i64[1,2,6]", "i32[1,2,6]", "i32[1,2,6]", "i16[1,2,4097]"),
        "i16[1,1,2]",
    ),
    example(
        npu_recurrent.Rnn(inputs=(12,), hidden_out=(1 << 30, 39)),
        *("i16[5,3,4]", "i8[1,2,4]", "i8[1,2,2]", "i64[1,2,2]", "i32[1,2,2]", "i32[1,2,2]", "i16[1,1,513]"),
        *("i8[1,3,2]", "i32[3]"),
    ),
    example(npu_pointwise.Lut(), "q8<0.5>[2,3]", "i8[256]"),
    example(npu_pointwise.Lut(), "i8[2,3]", "i16[3,256]"),
    example(npu_interpolate.Interpolate(worst=1.5), "q16<0.5>[2,3]", "i16[257]"),
    example(npu_interpolate.Interpolate(), "i16[2,3]", "i8[3,4097]"),
    example(
        npu_pointwise.Softmax(axis=0, steps=1 << 23, low=-32768, high=32767, dtype=DType.I16), "i16[2,3]", "i32[2,256]"
    ),
    example(npu_pointwise.Softmax(axis=1, steps=65280, zero_point=-128), "i8[2,3]", "i32[256]"),
    example(npu_softmax.SoftmaxFixed(axis=1), "i8[2,3]", "i32[256]"),
    example(npu_pointwise.Add(zero_points=(-1, 2), left_shift=20), "i8[2,1,3]", "i8[4,1]", "i32[3]", "i32[3]"),
    example(npu_window.MaxPool2d(window=(2, 3), stride=(2, 1), padding=((0, 1), (0, 2))), "q8<0.5:3>[1,5,4,2]"),
    example(npu_window.AveragePool2d(window=(2, 2)), "i8[1,3,4,2]", "i32[2,3]", "i32[2,3]"),
    example(npu_reduce.ReduceSum(axes=(1, 2), keep=True, input_zero_point=-5), "i8[2,3,4,5]", "i32[1]", "i32[1]"),
    example(npu_reduce.CumSum(axis=1, reverse=True, input_zero_point=7), "q8<0.5:7>[2,3,4]", "i32[1]", "i32[1]"),
    example(npu_window.ResizeLinear(), "i8[1,3,4,2]", "i16[6,3]", "i16[5,4]", "i32[1]", "i32[1]"),
)

EXAMPLES: tuple[Example, ...] = (
    *POINTWISE,
    *LOGIC,
    *REDUCE,
    *SHAPE,
    *PLACES,
    *RESIZE,
    *SAMPLE,
    *CONV,
    *WINDOW,
    *NORM,
    *RECURRENT,
    *QUANT,
    *INTEGER,
)
