"""Normalization, division and recurrent layers at 16 bits follow the float network, and so does the saved program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, parse_type
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Add, Div
from npuq.ir.ops.norm import LayerNorm, RmsNorm
from npuq.ir.ops.recurrent import Gru, Lstm, Recurrent, Rnn
from tests.backends.test_execution import assert_equals_interpreter


def known(builder: Builder, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
    random = np.random.default_rng(sum(shape))
    return builder.constant(random.normal(mean, scale, shape).astype(np.float32), "k")


def norms() -> npuq.Graph:
    builder = Builder("norms")
    x = builder.input("x", parse_type("f32[1,6,32]"))
    layer = builder.add(LayerNorm(axis=-1, epsilon=1e-12), x, known(builder, 32), known(builder, 32), name="layer")
    rms = builder.add(RmsNorm(axis=1), layer, known(builder, 6, 32), name="rms")
    scale = builder.add(RmsNorm(axis=-1), x, builder.constant(np.full(32, 0.01, np.float32)), name="small")
    return builder.build({"rms": rms, "small": scale})


def residual() -> npuq.Graph:
    """A product whose few great elements set the scale, added to its operand and normalized."""
    builder = Builder("residual")
    x = builder.input("x", parse_type("f32[1,6,32]"))
    weights = np.random.default_rng(1).normal(0, 0.05, (32, 32)).astype(np.float32)
    weights[:, 3] *= 3000
    product = builder.add(MatMul(), x, builder.constant(weights, "w"), known(builder, 32), name="product")
    total = builder.add(Add(), product, x, name="total")
    y = builder.add(LayerNorm(axis=-1), total, builder.constant(np.ones(32, np.float32)), name="y")
    return builder.build({"y": y})


def quotient() -> npuq.Graph:
    builder = Builder("quotient")
    x, y = (builder.input(name, parse_type("f32[1,40]")) for name in "xy")
    return builder.build({"z": builder.add(Div(), x, y, name="z")})


def recurrence(op: Recurrent) -> npuq.Graph:
    """A layer whose states are inputs and outputs, as a network has them that is called step by step."""
    builder = Builder(op.name)
    d, rows, kind = op.directions, op.gates * 8, op.name
    x = builder.input("x", parse_type("f32[6,1,5]"))
    names = ("h", "c") if kind == "lstm" else ("h",)
    states = [builder.input(f"{name}0", parse_type(f"f32[{d},1,8]")) for name in names]
    weights = [known(builder, d, rows, size, scale=0.4) for size in (5, 8)]
    biases = [known(builder, d, rows, scale=0.4) for _ in range(2 if kind == "gru" else 1)]
    found = builder.add_all(op, x, *weights, *biases, *states, names=("y", *names))
    return builder.build(dict(zip(("y", *names), found, strict=True)))


NETS = {
    "norms": norms(),
    "residual": residual(),
    "quotient": quotient(),
    "lstm": recurrence(Lstm(direction="bidirectional")),
    "gru": recurrence(Gru()),
    "rnn": recurrence(Rnn(direction="reverse")),
}


def drawn(graph: npuq.Graph, count: int) -> list[tuple[np.ndarray, ...]]:
    """Random samples; divisors stay away from zero."""
    random = np.random.default_rng(7)
    made = [
        tuple(random.normal(0, 1, type_.shape).astype(np.float32) for type_ in graph.input_types) for _ in range(count)
    ]
    return [(x, np.abs(y) + 0.25) for x, y in made] if graph.name == "quotient" else made


@pytest.mark.parametrize("name", NETS)
def test_16_bits_are_within_65_db(name: str, tmp_path: Path) -> None:
    graph = NETS[name]
    samples = drawn(graph, 12)
    quantized = npuq.quantize(graph, samples, bits=16)
    assert not [node.place for node in quantized.graph.nodes if node.host]
    quantized.program.save(tmp_path / "net.npuq")
    program = npuq.Program.load(tmp_path / "net.npuq")
    assert min(value or 0.0 for value in quantized.report.outputs.values()) > (50 if name == "quotient" else 65)
    integers = [
        tuple(
            np.clip(np.rint(array / type_.quant.scale), -32768, 32767).astype(np.int16)
            for array, type_ in zip(sample, program.graph.input_types, strict=True)
            if type_.quant is not None
        )
        for sample in samples[:2]
    ]
    assert_equals_interpreter(program, integers)


def test_sums_keep_20_bits_into_a_normalization() -> None:
    quantized = npuq.quantize(NETS["residual"], drawn(NETS["residual"], 4), bits=16)
    types = quantized.graph.types
    assert [types[name].dtype for name in ("x", "product", "total", "y")] == ["i16", "i32", "i32", "i16"]
    narrow = npuq.quantize(NETS["residual"], drawn(NETS["residual"], 4))
    assert {type_.dtype for name, type_ in narrow.graph.types.items() if type_.quant is not None} == {"i8"}


def test_a_state_has_one_scale_outside_and_inside() -> None:
    quantized = npuq.quantize(NETS["lstm"], drawn(NETS["lstm"], 4))
    scales = {name: type_.quant for name, type_ in quantized.graph.types.items() if type_.quant is not None}
    assert scales["y"] == scales["h"] == scales["h0"]
    assert scales["c"] == scales["c0"] != scales["h"]


def test_recurrent_products_are_counted() -> None:
    quantized = npuq.quantize(NETS["gru"], drawn(NETS["gru"], 4))
    assert quantized.program.cost().macs == 6 * 24 * (5 + 8)


def test_what_has_no_bound_runs_on_the_host() -> None:
    graph = recurrence(Rnn(activations=("Relu",)))
    quantized = npuq.quantize(graph, drawn(graph, 4))
    hosts = {node.op.name: node.host for node in quantized.graph.nodes if node.host}
    wanted = "activation Relu may leave [-1, 1]; Sigmoid, Tanh, HardSigmoid and ScaledTanh have tables"
    assert hosts["rnn"] == wanted
