"""The table of output formats: chosen by name or suffix, each emits a graph of its level."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from npuq.backends.formats import FORMATS, PROGRAMS, Format, Network, Settings, find_format
from npuq.ir import Graph, NpuqError, parse, verify
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.target import load_target

FAKE_QUANT = """
graph @net(%x: f32[1,4]) {
  %q = quantize %x {scales=(0.0625,)} : q8<0.0625>[1,4]
  %d = dequantize %q {scales=(0.0625,)} : f32[1,4]
  %r = relu %d : f32[1,4]
  %s = quantize %r {scales=(0.0625,)} : q8<0.0625>[1,4]
  %y = dequantize %s {scales=(0.0625,)} : f32[1,4]
  return %y
}
"""


@pytest.fixture
def fake_quant() -> Graph:
    return verify(parse(FAKE_QUANT))


def by_name(name: str) -> Format:
    return find_format(Path("any"), name)


def test_the_suffix_decides_and_a_name_overrules_it() -> None:
    assert [find_format(Path(f"a{suffix}")).name for suffix in (".npuq", ".onnx")] == ["npu", "exact-onnx"]
    assert find_format(Path("a.npuq"), "qdq-onnx").name == "qdq-onnx"
    assert [one.name for one in FORMATS] == [by_name(one.name).name for one in FORMATS]


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        (
            "a.pb",
            None,
            "a.pb: '.pb' files cannot be written; there are npu (.npuq), exact-onnx (.onnx), qdq-onnx",
        ),
        ("a.npuq", "elf", "there is no format 'elf'; there are npu (.npuq), exact-onnx (.onnx), qdq-onnx (.onnx)"),
    ],
)
def test_an_error_lists_the_formats(path: str, name: str | None, message: str) -> None:
    with pytest.raises(NpuqError) as error:
        find_format(Path(path), name)
    assert str(error.value).startswith(message)


def test_a_fake_quant_graph_is_lowered_for_integer_formats(fake_quant: Graph, tmp_path: Path) -> None:
    network, settings = Network(fake_quant), Settings()
    (tmp_path / "a.npuq").write_bytes(by_name("npu").emit(network, settings))
    program = PROGRAMS[".npuq"](tmp_path / "a.npuq")
    assert any(node.op.name.startswith("npu.") for node in program.graph.nodes)
    operators = {
        name: {node.op_type for node in onnx.load_from_string(by_name(name).emit(network, settings)).graph.node}
        for name in ("exact-onnx", "qdq-onnx")
    }
    assert "QuantizeLinear" in operators["qdq-onnx"]
    assert "QuantizeLinear" not in operators["exact-onnx"]


def test_settings_reach_their_format(fake_quant: Graph) -> None:
    settings = Settings(interface="integer", opset=13)
    exact, qdq = (
        onnx.load_from_string(by_name(name).emit(Network(fake_quant), settings)) for name in ("exact-onnx", "qdq-onnx")
    )
    assert exact.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT8
    assert qdq.opset_import[0].version == 13


def test_an_integer_graph_has_no_fake_quant_form(fake_quant: Graph) -> None:
    lowered = lower_to_integer(target=load_target("npu"))(fake_quant)
    assert by_name("npu").emit(Network(lowered), Settings())
    with pytest.raises(NpuqError, match="has no ONNX form; export the fake-quant graph instead"):
        by_name("qdq-onnx").emit(Network(lowered), Settings())


def test_a_float_graph_has_no_program() -> None:
    graph = verify(parse("graph @net(%x: f32[2]) {\n  %y = relu %x : f32[2]\n  return %y\n}\n"))
    assert by_name("qdq-onnx").emit(Network(graph), Settings())
    for name in ("npu", "exact-onnx"):
        with pytest.raises(NpuqError, match="net: nothing in it is quantized; start with npuq quantize"):
            by_name(name).emit(Network(graph), Settings())
