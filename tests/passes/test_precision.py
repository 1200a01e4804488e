"""Nodes of different widths in one network: what is asked for, converted, refused, and computed bit for bit."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, NpuqError, TensorType
from npuq.ir.ops import activation, conv, elementwise, reduce, shape
from npuq.ir.ops.quant import Quantize
from npuq.passes.lowering.plan import plan_of
from npuq.passes.precision import HEADROOM, Precision, Precisions
from npuq.passes.target import load_target
from tests.oracle.interpreter import execute

NPU = load_target("npu")


def net() -> Graph:
    """Convolutions, a sum, a concat of an early value, a mean and a matrix product."""
    random = np.random.default_rng(0)
    builder = Builder("mixed")

    def known(*sizes: int) -> str:
        return builder.constant(random.normal(0, 0.3, sizes).astype(np.float32), "k")

    window = conv.Conv(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    x = builder.input("x", TensorType(DType.F32, (1, 4, 9, 7)))
    a = builder.add(window, x, known(6, 4, 3, 3), known(6), name="a")
    r = builder.add(activation.Relu(), a, name="r")
    c = builder.add(window, r, known(6, 6, 3, 3), known(6), name="c")
    d = builder.add(elementwise.Add(), c, r, name="d")
    e = builder.add(shape.Concat(axis=1), d, a, name="e")
    f = builder.add(reduce.ReduceMean(axes=(2, 3), keep=False), e, name="f")
    return builder.build({"y": builder.add(conv.MatMul(), f, known(12, 5), known(5), name="g")})


DATA = np.random.default_rng(1).normal(0, 1, (6, 4, 9, 7)).astype(np.float32)


def sqnr(**options: object) -> float:
    """In dB, of the outputs over the calibration data."""
    quantized = npuq.quantize(net(), DATA, **options)  # type: ignore[arg-type]  # options of the cases
    wanted = np.concatenate([np.asarray(npuq.evaluate(quantized.float_graph)(one[None])[0]) for one in DATA])
    (found,) = quantized.simulate(DATA)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


def test_wider_data_and_weights_are_nearer_to_float() -> None:
    found = [sqnr(weight_bits=4), sqnr(), sqnr(bits=16, weight_bits=8), sqnr(bits=16)]
    assert all(after > before + 6 for before, after in pairwise(found)), found
    assert found[-1] > 80
    assert abs(sqnr(bits=16, weight_bits=4) - found[0]) < 3


@pytest.mark.parametrize("target", ["npu", "npu-asym"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_mixed_program_equals_the_interpreter_at_every_value(target: str, bits: int) -> None:
    other = Precision(bits=24 - bits)
    quantized = npuq.quantize(
        net(), DATA, target=target, bits=bits, precision={"c": other, "e": other, "g": Precision(8, weight_bits=4)}
    )
    program = quantized.program
    found = execute(program.bytes, [quantize_input(quantized)])
    dtypes = {program.graph.types[name].dtype for name in found.values}
    assert {DType.I8, DType.I16} <= dtypes
    values = npuq.ir.evaluate(program.graph, list(found.values))(quantize_input(quantized))
    for (name, wanted), computed in zip(found.values.items(), values, strict=True):
        np.testing.assert_array_equal(np.asarray(computed).astype(np.int64), wanted, err_msg=name)


def quantize_input(quantized: npuq.Quantized) -> np.ndarray:
    """The first sample as the program's integers."""
    (type_,) = quantized.graph.input_types
    assert type_.quant is not None
    low, high = type_.dtype.range
    integers = np.rint(DATA[:1] / np.float64(type_.quant.scale)) + type_.quant.zero_point
    return np.asarray(np.clip(integers, low, high).astype(type_.dtype.numpy))


def test_a_second_pair_converts_where_widths_meet_and_becomes_one_requantize() -> None:
    quantized = npuq.quantize(net(), DATA, precision={"c": Precision(bits=16)})
    pairs = [node for node in quantized.qdq.nodes if isinstance(node.op, Quantize)]
    converted = {node.result: node.type.dtype for node in pairs if ".dq" in node.operands[0]}
    assert converted == {"r.q16": DType.I16, "c.q8": DType.I8}
    made = quantized.graph.producers
    assert (made["r.q16"].op.name, made["r.q16"].operands[0]) == ("npu.requantize", "r")
    assert (made["c.q8"].op.name, made["c.q8"].operands[0]) == ("npu.requantize", "c")
    assert set(quantized.scales) == {"x", "a", "r", "c", "d", "e", "f", "g"}


def test_what_moves_elements_and_what_comes_in_have_the_widths_around_them() -> None:
    for named, found in (
        ({}, {"x": (8,), "a": (8,), "e": (8,), "f": (8,), "g": (8,)}),
        ({"a": 16}, {"x": (16,), "a": (16, 8), "r": (8,), "d": (8, 16), "e": (16, 8)}),
        ({"a": 16, "e": 8}, {"x": (16,), "a": (16, 8), "d": (8,), "e": (8,)}),
        ({"d": 16}, {"x": (8,), "c": (8, 16), "r": (8, 16), "d": (16,), "e": (16, 8), "a": (8, 16)}),
    ):
        asked = Precisions(Precision(8), {name: Precision(bits) for name, bits in named.items()})
        held = plan_of(net(), NPU, asked).held
        assert {name: held[name] for name in found} == found, named


def test_methods_and_weights_are_asked_for_by_node() -> None:
    asked = Precisions(Precision(16, weight_bits=8), {"a": Precision(8), "c": Precision(method="mse", weight_bits=4)})
    made = net().producers
    assert [asked.method(made[name], asked.bits(made[name], NPU)) for name in "acd"] == ["kl_v2", "mse", "min_max"]
    assert [asked.weight_bits(made[name]) for name in "acg"] == [None, 4, 8]
    assert Precisions(Precision(method="kl")).method(made["a"], 16) == "kl"


def test_min_max_of_16_bits_has_headroom_whether_asked_for_or_not() -> None:
    asked = Precisions(Precision(16), {"c": Precision(method="min_max"), "d": Precision(method="mse")})
    assert [asked.headroom(net().producers[name], 16) for name in "acd"] == [HEADROOM, HEADROOM, 1.0]
    assert asked.headroom(net().producers["c"], 8) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 4}, "npu has no activations of 4 bits; it has 8 and 16"),
        ({"weight_bits": 16}, "8-bit activations have no weights of 16 bits; they have 8, 4"),
        ({"method": "best"}, "there is no calibration method 'best'; there are min_max, percentile, mse, kl, kl_v2"),
        ({"precision": {"aa": Precision(16)}}, "precision: mixed has no node 'aa'; similar names: a"),
        ({"precision": {"a": Precision(5)}}, "precision of a: npu has no activations of 5 bits; it has 8 and 16"),
        ({"precision": {"c": Precision(method="m")}}, "precision of c: there is no calibration method 'm'; there are"),
    ],
    ids=str,
)
def test_what_does_not_exist_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(NpuqError, match="^" + re.escape(message)):
        npuq.quantize(net(), DATA, **options)  # type: ignore[arg-type]  # options of the cases
