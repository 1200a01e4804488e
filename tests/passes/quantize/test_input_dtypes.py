"""Inputs of a chosen integer type: what they say, what they cost, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import npuq
from npuq.backends.exact_onnx import to_exact_onnx
from npuq.ir import Builder, DType, Graph, NpuqError, Quantization, TensorType
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Add
from npuq.passes.precision import Precision

PICTURES = np.random.default_rng(0).integers(0, 256, (16, 6)).astype(np.float32)
PICTURES[0, :2] = 0, 255


def net() -> Graph:
    random = np.random.default_rng(1)
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 6)))
    w, b = (builder.constant(random.normal(0, 0.1, size).astype(np.float32), "k") for size in ((6, 4), (4,)))
    return builder.build({"y": builder.add(Relu(), builder.add(MatMul(), x, w, b, name="m"), name="y")})


@pytest.mark.parametrize("target", ["npu", "npu-asym"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bytes_arrive_as_they_are(target: str, bits: int) -> None:
    quantized = npuq.quantize(net(), PICTURES, target=target, bits=bits, input_dtype="uint8")
    assert quantized.graph.inputs["x"] == TensorType(DType.U8, (1, 6), Quantization.per_tensor(1.0, 0))
    bytes_ = PICTURES.astype(np.uint8)
    (real,), (raw,) = quantized.simulate(PICTURES), quantized.simulate(bytes_, raw=True)
    np.testing.assert_array_equal(quantized.simulate(bytes_)[0], real)
    np.testing.assert_array_equal(quantized.program.run(bytes_)[0], real)
    session = onnxruntime.InferenceSession(to_exact_onnx(quantized.graph).SerializeToString())
    (name,) = (one.name for one in session.get_inputs())
    exact = np.concatenate([session.run(None, {name: one[None]})[0] for one in PICTURES])
    np.testing.assert_array_equal(exact, raw)
    # The readers' integers are those of bytes rounded to their own scale.
    wanted = npuq.evaluate(quantized.qdq)
    np.testing.assert_allclose(real[:1], np.asarray(wanted(PICTURES[:1])[0]), atol=quantized.scales["y"])


def test_scales_in_a_file_leave_the_bytes_as_they_are(tmp_path: Path) -> None:
    first = npuq.quantize(net(), PICTURES, input_dtype="uint8", effort=0)
    first.save_scales(tmp_path / "scales.json")
    again = npuq.quantize(net(), PICTURES, input_dtype="uint8", effort=0, scales=tmp_path / "scales.json")
    assert again.graph == first.graph


def test_a_type_that_the_readers_have_changes_nothing() -> None:
    for bits, dtype in ((8, "int8"), (16, "int16"), (8, "float32"), (8, ["None"]), (8, {"x": "int8"})):
        assert npuq.quantize(net(), PICTURES, bits=bits, input_dtype=dtype).graph == (
            npuq.quantize(net(), PICTURES, bits=bits).graph
        )


def test_few_bits_are_converted_to_more() -> None:
    quantized = npuq.quantize(net(), PICTURES, bits=16, input_dtype="int8")
    assert quantized.graph.inputs["x"].dtype is DType.I8
    assert quantized.graph.nodes[0].op.name == "npu.requantize"
    assert {str(node.type.dtype) for node in quantized.graph.nodes} == {"i16"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_dtype": "int16"}, "input x: int16 into 8 bits; give it int8 or uint8, or its readers 16 bits"),
        ({"input_dtype": "int4"}, "input_dtype of x: 'int4'; one of int8, uint8, int16, float32, None wanted"),
        ({"input_dtype": {"z": "int8"}}, "input_dtype: there is no input 'z'; there are x"),
        ({"input_dtype": ["int8", "int8"]}, "input_dtype: 2 types for 1 inputs; one for each wanted"),
        ({"input_dtype": "int16", "bits": 16, "precision": {"m": Precision(8)}}, "input x: int16 into 8 bits"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpuqError) as error:
        npuq.quantize(net(), PICTURES, **options)
    assert message in str(error.value)


def test_inputs_without_a_choice_are_told_apart() -> None:
    """One input of bytes, one that is left to the compiler, and integers, whose type is the model's."""
    builder = Builder("net")
    x, z = (builder.input(name, TensorType(DType.F32, (1, 4))) for name in "xz")
    i = builder.input("i", TensorType(DType.I64, (1, 4)))
    graph = builder.build({"y": builder.add(Add(), x, z, name="y"), "j": i})
    data: dict[str, np.ndarray] = {"x": PICTURES[:, :4], "z": PICTURES[:, 2:], "i": np.zeros((16, 4), np.int64)}
    quantized = npuq.quantize(graph, data, input_dtype={"x": "uint8"})
    assert [quantized.graph.inputs[name].dtype for name in "xzi"] == [DType.U8, DType.I8, DType.I64]
    with pytest.raises(NpuqError, match="input i: i64; its type can be chosen for float inputs only"):
        npuq.quantize(graph, data, input_dtype={"i": "int8"})
