"""Quantized ONNX models: what was written comes back, and what cannot be read is told."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from npuq.backends.qdq import to_onnx
from npuq.frontends import load
from npuq.ir import Builder, DType, Graph, NpuqError, Quantization, evaluate, parse_type
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.target import load_target


def pair(builder: Builder, value: str, scale: float, name: str) -> str:
    integers = builder.add(Quantize(scales=(scale,)), value, name=f"{name}.q")
    return builder.add(Dequantize(scales=(scale,)), integers, name=f"{name}.dq")


def net() -> Graph:
    generator = np.random.default_rng(3)
    builder = Builder("net")
    x = pair(builder, builder.input("x", parse_type("f32[1,3,6,5]")), 2.0**-5, "x")
    weights = Quantization((2.0**-7, 2.0**-8), (0, 0), 0)
    bias = Quantization((2.0**-12, 2.0**-13), (0, 0), 0)
    w = builder.constant(generator.integers(-127, 128, (2, 3, 3, 3)).astype(np.int8), "w.q", weights)
    b = builder.constant(generator.integers(-999, 999, 2).astype(np.int32), "b.q", bias)
    operands = [
        builder.add(Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=0), value, name=name)
        for value, quant, name in ((w, weights, "w.dq"), (b, bias, "b.dq"))
    ]
    conv = Conv(stride=(1, 1), padding=((1, 1),) * 2, dilation=(1, 1))
    y = builder.add(Relu(), builder.add(conv, x, *operands, name="c"), name="y")
    return builder.build({"out": pair(builder, y, 2.0**-4, "y")})


def test_a_written_graph_comes_back_with_the_same_types_and_numbers() -> None:
    graph = net()
    again = load(to_onnx(graph))
    assert [type(node.op) for node in again.nodes] == [type(node.op) for node in graph.nodes]
    assert {str(node.type) for node in again.nodes} == {str(node.type) for node in graph.nodes}
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(1, 3, 6, 5)).astype(np.float32)
        np.testing.assert_array_equal(evaluate(again)(x)[0], evaluate(graph)(x)[0])


def test_a_graph_that_came_back_lowers_to_the_same_integers() -> None:
    target = load_target("npu")
    one, other = (lower_to_integer(target=target)(graph) for graph in (net(), load(to_onnx(net()))))
    assert [node.op.name for node in one.nodes] == [node.op.name for node in other.nodes]
    assert {constant.digest for constant in one.constants.values()} == {
        constant.digest for constant in other.constants.values()
    }


def model(
    operator: str, *inputs: str, tensors: dict[str, np.ndarray], type_: int, **attributes: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], name="n", **attributes)],  # type: ignore[arg-type]  # of any name
        "g",
        [helper.make_tensor_value_info("x", type_, [2, 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


HALF = np.array(0.5, np.float32)
X = np.array([[-1.0, 0.26, 200.0], [0.25, 0.75, -200.0]], np.float32)


@pytest.mark.parametrize(
    ("inputs", "tensors", "attributes", "dtype", "wanted"),
    [
        (("s",), {"s": HALF}, {}, DType.U8, [[0, 1, 255], [0, 2, 0]]),
        (("s", "z"), {"s": HALF, "z": np.array(3, np.int8)}, {}, DType.I8, [[1, 4, 127], [3, 5, -128]]),
        (("s",), {"s": HALF}, {"output_dtype": onnx.TensorProto.INT16}, DType.I16, [[-2, 1, 400], [0, 2, -400]]),
        (
            ("s", "z"),
            {"s": np.array([0.5, 0.25], np.float32), "z": np.array([0, 1], np.uint8)},
            {"axis": -2},
            DType.U8,
            [[0, 1, 255], [2, 4, 0]],
        ),
    ],
)
def test_quantize_linear(
    inputs: tuple[str, ...],
    tensors: dict[str, np.ndarray],
    attributes: dict[str, int],
    dtype: DType,
    wanted: list[list[int]],
) -> None:
    graph = load(model("QuantizeLinear", "x", *inputs, tensors=tensors, type_=onnx.TensorProto.FLOAT, **attributes))
    assert graph.output_types[0].dtype is dtype
    np.testing.assert_array_equal(evaluate(graph)(X)[0], wanted)


@pytest.mark.parametrize(
    ("inputs", "tensors", "attributes", "said"),
    [
        (("s",), {"s": np.array([0.5, 0.5, 0.5, 0.5], np.float32)}, {}, "4 scales on an axis of 3"),
        (("s",), {"s": np.array(0, np.float32)}, {}, "a scale must be finite and positive, not 0.0"),
        (("s",), {"s": np.array(1, np.float16)}, {}, "a scale of float16, f32 wanted"),
        (("s", "z"), {"s": HALF, "z": np.zeros(3, np.int8)}, {}, "as many zero points as scales are wanted"),
        (
            ("s",),
            {"s": HALF},
            {"block_size": 2},
            "block_size is not 0; only scales per tensor or axis are translated",
        ),
        (("x",), {}, {}, "the scale must be a constant, not computed from the network's inputs"),
    ],
)
def test_what_cannot_be_translated_is_told(
    inputs: tuple[str, ...], tensors: dict[str, np.ndarray], attributes: dict[str, int], said: str
) -> None:
    with pytest.raises(NpuqError) as caught:
        load(model("QuantizeLinear", "x", *inputs, tensors=tensors, type_=onnx.TensorProto.FLOAT, **attributes))
    assert str(caught.value) == f"g:n: QuantizeLinear: {said}"


@pytest.mark.parametrize(
    ("scales", "zero_points", "axis", "wanted"),
    [
        (HALF, np.array(3, np.int8), 1, [[-1.5, -1, -65.5], [62, -1.5, -2]]),
        (np.array([0.5, 2], np.float32), np.array([0, 1], np.int8), 0, [[0, 0.5, -64], [252, -2, -4]]),
    ],
)
def test_integers_that_nothing_quantized_are_computed_with(
    scales: np.ndarray, zero_points: np.ndarray, axis: int, wanted: list[list[float]]
) -> None:
    tensors = {"s": scales, "z": zero_points}
    graph = load(model("DequantizeLinear", "x", "s", "z", tensors=tensors, type_=onnx.TensorProto.INT8, axis=axis))
    x = np.array([[0, 1, -128], [127, 0, -1]], np.int8)
    np.testing.assert_array_equal(evaluate(graph)(x)[0], wanted)


@pytest.mark.parametrize(
    ("operator", "tensors", "wanted"),
    [
        ("Tile", {"r": np.array([1, 2])}, [[-1, 1, 4, -1, 1, 4]]),
        ("ReduceMin", {"a": np.array([0])}, [[-1, 1, 4]]),
        ("Transpose", {}, [[-1], [1], [4]]),
    ],
)
def test_integers_that_only_move_keep_their_scale(
    operator: str, tensors: dict[str, np.ndarray], wanted: list[list[float]]
) -> None:
    nodes = [
        helper.make_node(operator, ["x", *tensors], ["m"], name="m"),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["y"], name="y"),
    ]
    known = {**tensors, "s": HALF, "z": np.array(2, np.int8)}
    net = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT8, [1, 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in known.items()],
    )
    graph = load(helper.make_model(net, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    assert [node.op.name for node in graph.nodes if node.op.name in ("dequantize", "cast")] == ["dequantize"]
    np.testing.assert_array_equal(evaluate(graph)(np.array([[0, 4, 10]], np.int8))[0], wanted)


def test_integers_may_be_moved_many_times() -> None:
    count = 1500
    shapes = {"flat": np.array([6]), "wide": np.array([2, 3]), "s": HALF}
    moves = [
        helper.make_node("Reshape", [f"r{at}" if at else "x", ("flat", "wide")[at % 2]], [f"r{at + 1}"])
        for at in range(count)
    ]
    graph = helper.make_graph(
        [*moves, helper.make_node("DequantizeLinear", [f"r{count}", "s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT8, [2, 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(array, name) for name, array in shapes.items()],
    )
    loaded = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    assert len(loaded.nodes) == count + 1
    assert loaded.inputs["x"].quant == Quantization.per_tensor(0.5)
    assert {node.op.name for node in loaded.nodes} == {"reshape", "dequantize"}
