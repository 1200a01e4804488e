"""Graphs as ONNX models: onnxruntime computes what `ir.evaluate` computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from npuq.backends.qdq import EXPORTERS, to_onnx
from npuq.ir import Builder, Constant, DType, Graph, NpuqError, Quantization, TensorType, evaluate, parse_type, registry
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.ir.ops.elementwise import Add, Identity
from npuq.ir.ops.pool import AveragePool, MaxPool
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.resize import Resize
from tests.backends.programs import small
from tests.ir.examples import EXAMPLES, Example

FLOAT_EXAMPLES = [example for example in EXAMPLES if not example.op.name.startswith(("npu.", "observe"))]

ABSENT = "NOT_IMPLEMENTED"
"""What onnxruntime says where it lacks a kernel for an element type."""


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The model as written: no graph optimization, so that pairs stay pairs."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(graph: Graph, arrays: Sequence[np.ndarray], model: onnx.ModelProto | None = None) -> list[np.ndarray]:
    """What onnxruntime gives for a graph; of resampling onnx's reference, since onnxruntime leaves out rare forms."""
    feeds = dict(zip(graph.inputs, arrays, strict=True))
    model = to_onnx(graph) if model is None else model
    if any(isinstance(node.op, Resize) and len(node.type.shape) < 4 for node in graph.nodes):
        onnx.checker.check_model(model, full_check=True)
        return list(ReferenceEvaluator(model).run(None, feeds))
    return list(session(model).run(None, feeds))


def example_graph(example: Example) -> Graph:
    builder = Builder("law")
    operands = [builder.input(f"x{index}", type_) for index, type_ in enumerate(example.operands)]
    results = builder.add_all(example.op, *operands, loc="somewhere")
    return builder.build({f"y{index}": name for index, name in enumerate(results)})


def random_array(type_: TensorType, example: Example, seed: int) -> np.ndarray:
    """Numbers in the domain of the op: positive for logarithms and powers, inside the axis for indices."""
    generator = np.random.default_rng(seed)
    if type_.dtype is DType.BOOL:
        return generator.integers(0, 2, type_.shape).astype(bool)
    if example.op.name.startswith("gather") and seed:
        return generator.integers(-2, 2, type_.shape).astype(type_.dtype.numpy)
    if example.op.name.startswith("scatter") and seed == 1:
        return np.reshape(np.arange(type_.size) % example.operands[0].shape[0], type_.shape).astype(type_.dtype.numpy)
    if (example.op.name == "max_roi_pool" and seed) or (example.op.name == "roi_align" and seed == 2):
        return generator.integers(0, 2, type_.shape).astype(type_.dtype.numpy)
    if type_.dtype.is_integer and example.op.name in ("lstm", "gru", "rnn"):
        return generator.integers(1, 1 + example.operands[0].shape[0], type_.shape).astype(type_.dtype.numpy)
    if type_.dtype.is_integer:
        return generator.integers(1, 9, type_.shape).astype(type_.dtype.numpy)
    array = generator.normal(size=type_.shape)
    positive = example.op.name in ("log", "sqrt", "pow", "reciprocal", "div", "mod") or "batch_norm" in example.op.name
    return np.asarray(np.abs(array) + 0.1 if positive else array).astype(type_.dtype.numpy)


def test_every_float_op_has_an_exporter() -> None:
    lacking = {op for name, op in registry().items() if not name.startswith("npu.")} - set(EXPORTERS)
    assert {op.name for op in lacking} <= {"observe"}


@pytest.mark.parametrize("example", FLOAT_EXAMPLES, ids=str)
def test_an_op_gives_the_same_numbers(example: Example) -> None:
    graph = example_graph(example)
    arrays = [random_array(type_, example, seed) for seed, type_ in enumerate(example.operands)]
    try:
        given = run(graph, arrays)
    except Exception as error:
        if ABSENT not in str(error):
            raise
        assert DType.F32 not in {type_.dtype for type_ in example.operands}, "every op runs in f32"
        return
    for got, wanted in zip(given, map(np.asarray, evaluate(graph)(*arrays)), strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        exact = got.dtype.kind in "biu"
        half = got.dtype == np.float16
        tolerance = 0.0 if exact else 2e-2 if half else 2e-6
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "example", [one for one in FLOAT_EXAMPLES if DType.F32 in {t.dtype for t in one.operands}], ids=str
)
def test_the_oldest_opset_gives_the_same_numbers_or_tells_the_one_that_does(example: Example) -> None:
    graph = example_graph(example)
    arrays = [random_array(type_, example, seed) for seed, type_ in enumerate(example.operands)]
    model = to_onnx(graph, opset=oldest(graph))
    for got, wanted in zip(run(graph, arrays, model), run(graph, arrays), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)


def oldest(graph: Graph) -> int:
    """13, or the opset that the refusal of it tells."""
    try:
        to_onnx(graph, opset=13)
    except NpuqError as error:
        told = re.fullmatch(r"somewhere: .* needs? opset (\d+), not 13", str(error))
        return int(told[1]) if told else 0
    return 13


def test_what_an_opset_lacks_is_said() -> None:
    builder = Builder("g")
    pair = {"scales": (0.5,)}
    x = builder.input("x", parse_type("f32[2]"))
    integers = builder.add(Quantize(**pair, dtype=DType.I16, low=-32768, high=32767), x, name="q", loc="net.onnx:q")  # type: ignore[arg-type]  # a scale
    graph = builder.build({"y": builder.add(Dequantize(**pair), integers, name="y")})  # type: ignore[arg-type]
    with pytest.raises(NpuqError, match=r"^net.onnx:q: quantize: i16 integers need opset 21, not 20$"):
        to_onnx(graph, opset=20)
    with pytest.raises(NpuqError, match=r"^opset 12: 13 \(the first with scales per channel\) to \d+ wanted$"):
        to_onnx(graph, opset=12)


@pytest.mark.parametrize("opset", [13, 20, 24])
def test_pairs_of_8_bits_are_the_same_in_every_opset(opset: int) -> None:
    graph = residual_net(-11, -128)
    x = np.random.default_rng(0).normal(scale=3, size=(1, 3, 9, 8)).astype(np.float32)
    model = to_onnx(graph, opset=opset)
    assert model.opset_import[0].version == opset
    for got, wanted in zip(run(graph, [x], model), evaluate(graph)(x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def quantized(builder: Builder, value: str, scale: float, name: str, zero_point: int = 0, low: int = -128) -> str:
    pair = {"scales": (scale,), "zero_points": (zero_point,)}
    integers = builder.add(Quantize(**pair, low=low), value, name=f"{name}.q")  # type: ignore[arg-type]  # a pair
    return builder.add(Dequantize(**pair), integers, name=f"{name}.dq")  # type: ignore[arg-type]  # a pair


def stored(builder: Builder, array: np.ndarray, scales: Sequence[float], axis: int | None, name: str) -> str:
    quant = Quantization(tuple(map(float, scales)), (0,) * len(scales), axis)
    constant = builder.constant(array, f"{name}.q", quant)
    return builder.add(Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=axis), constant, name=name)


def residual_net(zero_point: int, low: int) -> Graph:
    """Two convolutions, a sum, a clamp, a product; scales are powers of two, so that float sums are exact."""
    generator = np.random.default_rng(7)
    builder = Builder("net")
    x = quantized(builder, builder.input("x", parse_type("f32[1,3,9,8]")), 2.0**-5, "x", zero_point, low)
    wide = Conv(stride=(1, 1), padding=((1, 1),) * 2, dilation=(1, 1))
    deep = Conv(stride=(1, 1), padding=((1, 1),) * 2, dilation=(1, 1), groups=4)
    w = stored(
        builder,
        generator.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        [2.0**-7, 2.0**-8, 2.0**-9, 2.0**-10],
        0,
        "w",
    )
    b = stored(
        builder, generator.integers(-2000, 2000, 4).astype(np.int32), [2.0**-12, 2.0**-13, 2.0**-14, 2.0**-15], 0, "b"
    )
    y = quantized(builder, builder.add(wide, x, w, b, name="c"), 2.0**-4, "c", zero_point, low)
    v = stored(builder, generator.integers(-127, 128, (4, 1, 3, 3)).astype(np.int8), [2.0**-8], None, "v")
    z = quantized(builder, builder.add(deep, y, v, name="d"), 2.0**-4, "d", zero_point, low)
    s = builder.add(Relu(), builder.add(Add(), y, z, name="s"), name="r")
    flat = quantized(builder, s, 2.0**-3, "r", zero_point, low)
    return builder.build({"d": z, "r": flat, "c.q": f"{'c'}.q"})


@pytest.mark.parametrize(("zero_point", "low"), [(0, -128), (0, -127), (-11, -128), (5, -100)])
def test_a_fake_quant_net_gives_the_same_integers(zero_point: int, low: int) -> None:
    graph = residual_net(zero_point, low)
    for seed in range(4):
        x = np.random.default_rng(seed).normal(scale=3, size=(1, 3, 9, 8)).astype(np.float32)
        for got, wanted in zip(run(graph, [x]), evaluate(graph)(x), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_pairs_are_standard_and_lie_where_the_graph_has_them() -> None:
    model = to_onnx(residual_net(0, -128))
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("QuantizeLinear") == 4
    assert operators.count("DequantizeLinear") == 4 + 3
    assert {entry.domain for entry in model.opset_import} == {""}
    weights = next(node for node in model.graph.node if node.output[0] == "w")
    assert {attribute.name: attribute.i for attribute in weights.attribute} == {"axis": 0}
    bias = next(node for node in model.graph.node if node.output[0] == "b")
    assert len(bias.input) == 2
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert tensors[weights.input[0]].dtype == np.int8
    assert tensors[bias.input[0]].dtype == np.int32
    assert tensors[weights.input[1]].shape == (4,)
    assert tensors[next(n for n in model.graph.node if n.output[0] == "c.q").input[1]].shape == ()


def test_outputs_keep_their_names() -> None:
    graph = residual_net(0, -128)
    model = to_onnx(graph)
    assert [output.name for output in model.graph.output] == ["d", "r", "c.q"]
    made = [name for node in model.graph.node for name in node.output]
    assert len(made) == len(set(made))
    assert {"c", "d.raw", "r.raw", "s"} <= set(made)


def test_a_value_returned_twice_or_just_passed_on() -> None:
    builder = Builder("g")
    x = builder.input("x", parse_type("f32[2]"))
    y = builder.add(Identity(), x, name="y")
    c = builder.constant(np.array([3, 4], np.float32), "c")
    graph = builder.build({"a": y, "b": y, "x": x, "k": c})
    array = np.array([1, 2], np.float32)
    given = session(to_onnx(graph)).run(["a", "b", "k"], {"x": array})
    for got, wanted in zip(given, (array, array, np.array([3, 4], np.float32)), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_64_bit_and_shifted_32_bit_integers_are_dequantized_by_arithmetic() -> None:
    builder = Builder("g")
    builder.input("x", parse_type("f32[2]"))
    long = builder.constant(np.array([[1 << 20, -3]]), "long", Quantization((0.5, 0.25), (0, 0), 1))
    shifted = builder.constant(np.array([7, 9], np.int32), "shifted", Quantization((0.5,), (3,)))
    outputs = {
        "a": builder.add(Dequantize(scales=(0.5, 0.25), axis=1), long),
        "b": builder.add(Dequantize(scales=(0.5,), zero_points=(3,)), shifted),
    }
    a, b = run(builder.build(outputs), [np.zeros(2, np.float32)])
    np.testing.assert_array_equal(a, np.array([[1 << 19, -0.75]], np.float32))
    np.testing.assert_array_equal(b, np.array([2, 3], np.float32))


PADDED = ((3, 1), (0, 2))


@pytest.mark.parametrize(
    "op",
    [
        MaxPool(window=(2, 2), stride=(1, 1), padding=PADDED, dilation=(1, 1)),
        AveragePool(window=(2, 2), stride=(1, 1), padding=PADDED, dilation=(1, 1)),
        AveragePool(window=(2, 2), stride=(1, 1), padding=PADDED, dilation=(1, 1), count_padding=True),
        ConvTranspose(stride=(2, 2), padding=((-1, 1), (0, -2)), dilation=(1, 1), output_padding=(0, 1)),
        Resize(shape=(1, 2, 7, 8), scales=(1.0, 1.0, 1.45, 1.6), mode="linear"),
        Resize(shape=(1, 2, 10, 5), scales=(1.0, 1.0, 2.0, 1.0), nearest="floor", coordinates="asymmetric"),
        MatMul(),
    ],
    ids=str,
)
def test_forms_that_onnx_has_only_by_a_detour(op: object) -> None:
    weights: Mapping[type, tuple[str, ...]] = {
        MatMul: ("f32[5,2]", "f32[2]"),
        ConvTranspose: ("f32[2,3,3,3]", "f32[3]"),
    }
    operands = ("f32[2,5]" if isinstance(op, MatMul) else "f32[1,2,5,5]", *weights.get(type(op), ()))
    example = Example(op, tuple(map(parse_type, operands)))  # type: ignore[arg-type]  # an op
    graph = example_graph(example)
    arrays = [random_array(type_, example, seed) for seed, type_ in enumerate(example.operands)]
    (got,), (wanted,) = run(graph, arrays), evaluate(graph)(*arrays)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_what_onnx_lacks_is_said() -> None:
    with pytest.raises(NpuqError, match=r"npu.conv2d has no ONNX form; export the fake-quant graph instead$"):
        to_onnx(small())


def test_too_many_constants_for_a_file_are_refused() -> None:
    array = np.broadcast_to(np.zeros((), np.int8), (1 << 31,))
    constant = object.__new__(Constant)
    object.__setattr__(constant, "type", parse_type("i8[2147483648]"))
    object.__setattr__(constant, "array", array)
    graph = Graph("g", {}, {"c": constant}, (), {"c": "c"})
    with pytest.raises(NpuqError, match=r"^g: 2147483648 bytes of constants, an ONNX file holds at most 2147483647$"):
        to_onnx(graph)
