"""Dumps: what is written, read back, compared; and the first integers that differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import npuq
from npuq.backends.npu.layout import operand_names
from npuq.comparison.compare import compare
from npuq.comparison.diverge import diverge
from npuq.comparison.dump import read_dump, write_dump
from npuq.ir import Builder, Graph, NpuqError, evaluate, parse_type
from npuq.ir.ops.activation import Relu

from ..conftest import Files, Run

DATA = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def quantized(model: onnx.ModelProto) -> npuq.Quantized:
    return npuq.quantize(npuq.load(model), DATA, method="min_max")


@pytest.fixture(scope="module")
def folder(quantized: npuq.Quantized, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dump")
    quantized.dump(folder, samples=2)
    return folder


def with_one_more(graph: Graph, name: str) -> Graph:
    """The graph with the bias of one op raised by a number that every channel feels."""
    node = graph.producers[name]
    bias = node.operands[operand_names(node.op, len(node.operands)).index("bias")]
    array = graph.constants[bias].array.astype(np.int64) + 100_000
    changed = replace(graph.constants[bias], array=array.astype(np.int32))
    return replace(graph, constants={**graph.constants, bias: changed})


def test_a_dump_holds_every_value_of_every_level(quantized: npuq.Quantized, folder: Path) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == ["fake-quant", "float", "integer"]
    dump = read_dump(folder / "integer")
    names = [name for node in quantized.graph.nodes for name in node.results]
    assert list(dump.inputs) == ["x"]
    assert list(dump.results) == names
    for name, value in dump.results.items():
        assert value.type == quantized.graph.types[name]
        assert value.read().shape[0] == 2
    (wanted,) = evaluate(quantized.float_graph, ["r"])(*quantized.samples[1])
    np.testing.assert_array_equal(read_dump(folder / "float").results["r"].read()[1], wanted)


def test_dumps_compare_like_the_graphs_they_come_from(quantized: npuq.Quantized, folder: Path) -> None:
    samples = [{"x": sample[0]} for sample in quantized.samples[:2]]
    wanted = compare(quantized.float_graph, quantized.graph, samples)
    sides = read_dump(folder / "float"), read_dump(folder / "integer")
    for found in (
        compare(*sides),
        compare(quantized.float_graph, sides[1]),
        compare(sides[0], quantized.graph),
        compare(quantized.float_graph, sides[1], samples),
    ):
        assert [(row.name, row.accumulated) for row in found] == [(row.name, row.accumulated) for row in wanted]
    alone = compare(sides[0], quantized.graph, alone=True)
    assert all(row.alone is not None for row in alone)
    with pytest.raises(NpuqError, match="a dump cannot be run, so its layers cannot be measured alone"):
        compare(*sides, alone=True)


def test_bare_arrays_by_name_are_a_dump_too(quantized: npuq.Quantized, folder: Path, tmp_path: Path) -> None:
    dump = read_dump(folder / "integer")
    first = next(iter(dump.results))
    array = np.array(dump.results[first].read())
    np.save(tmp_path / f"{first}.npy", array.reshape(-1, *array.shape[2:]))
    np.save(tmp_path / "unknown.npy", np.zeros(3))
    samples = [{"x": sample[0]} for sample in quantized.samples[:2]]
    assert diverge(quantized.graph, read_dump(tmp_path), samples) is None
    array[1, 0, 2, 1, 0] ^= 5
    np.save(tmp_path / f"{first}.npy", array)
    found = diverge(quantized.graph, read_dump(tmp_path), samples)
    assert found is not None
    assert (found.name, found.sample, found.position, found.count) == (first, 1, (0, 2, 1, 0), 1)
    assert found.values[0] ^ 5 == found.values[1]
    with pytest.raises(NpuqError, match="it does not hold the input 'x'; give --data"):
        diverge(quantized.graph, read_dump(tmp_path))


def test_the_first_divergence_is_the_changed_instruction(quantized: npuq.Quantized) -> None:
    graph = quantized.graph
    last = graph.nodes[-1].results[0]
    products = [node for node in graph.nodes if node.op.name in ("npu.conv2d", "npu.matmul")]
    for node in products:
        found = diverge(graph, with_one_more(graph, node.result), [{"x": DATA[:3]}, {"x": DATA[3:5]}])
        assert found is not None
        assert (found.name, found.op, found.place) == (node.result, node.op.name, node.place)
        assert found.agreeing == sum(one.types[0].dtype.is_integer for one in graph.nodes[: graph.nodes.index(node)])
        one, other = (evaluate(side, [node.result]) for side in (graph, with_one_more(graph, node.result)))
        arrays = [np.stack([np.asarray(run(graph_input(graph, x))[0], int) for x in DATA[:5]]) for run in (one, other)]
        assert found.count == np.count_nonzero(arrays[0] != arrays[1])
        assert found.greatest == np.abs(arrays[0] - arrays[1]).max()
        assert found.elements == arrays[0].size
        assert found.values == tuple(int(array[found.sample][found.position]) for array in arrays)
        assert node.result == last or "differ, by at most" in str(found)
    assert diverge(graph, graph, [{"x": DATA}]) is None


def graph_input(graph: Graph, x: np.ndarray) -> np.ndarray:
    quant = graph.input_types[0].quant
    assert quant is not None
    integers: np.ndarray = np.clip(np.rint(x[None].astype(np.float64) * (1 / quant.scale)), -128, 127).astype(np.int8)
    return integers


def test_types_that_differ_are_a_divergence(model: onnx.ModelProto, quantized: npuq.Quantized) -> None:
    other = npuq.quantize(npuq.load(model), 2 * DATA, method="min_max")
    found = diverge(quantized.graph, other.graph, [{"x": DATA}])
    assert found is not None
    assert (found.index, found.count) == (0, 0)
    assert str(found).endswith(f"{found.types[0]} here, {found.types[1]} there; the 0 values before it agree")
    assert found.types[0] != found.types[1]


def test_floats_have_no_integers_to_differ() -> None:
    builder = Builder("net")
    graph = builder.build({"y": builder.add(Relu(), builder.input("x", parse_type("f32[1,3]")), name="y")})
    with pytest.raises(NpuqError, match=r"^net, net: no integers have the same name in both$"):
        diverge(graph, graph, [])


def test_damaged_dumps_are_refused(folder: Path, tmp_path: Path, quantized: npuq.Quantized) -> None:
    with pytest.raises(NpuqError, match="there is no such folder"):
        read_dump(tmp_path / "nowhere")
    with pytest.raises(NpuqError, match=r"no dump: neither index.json nor .npy files in it$"):
        read_dump(tmp_path)
    write_dump(quantized.graph, quantized.samples[:1], tmp_path / "d")
    index = tmp_path / "d" / "index.json"
    head = json.loads(index.read_text())
    for key, value in (("file", "../secret.npy"), ("dtype", "i7"), ("shape", "x"), ("scales", [-1.0])):
        head["values"][1][key], kept = value, head["values"][1][key]
        index.write_text(json.dumps(head))
        with pytest.raises(NpuqError, match=r"index.json: damaged: .*; dump again$"):
            read_dump(tmp_path / "d")
        head["values"][1][key] = kept
    head["values"][1]["shape"] = [7]
    index.write_text(json.dumps(head))
    with pytest.raises(NpuqError, match="the index says samples of"):
        read_dump(tmp_path / "d").results[head["values"][1]["name"]].read()
    index.write_text("{")
    with pytest.raises(NpuqError, match="damaged"):
        read_dump(tmp_path / "d")
    short = read_dump(folder / "integer")
    with pytest.raises(NpuqError, match="2 samples, but the other side has more; compare the same samples"):
        diverge(quantized.graph, short, [{"x": DATA}])


def test_the_commands_write_read_and_compare_dumps(run: Run, files: Files, tmp_path: Path) -> None:
    flags = ("--method", "min_max", "--dump", tmp_path / "dump")
    assert run("quantize", files.model, "--data", files.data, "-o", tmp_path / "o", *flags).code == 0
    program, integer = tmp_path / "o" / "small.npuq", tmp_path / "dump" / "integer"
    done = run("compare", tmp_path / "dump" / "float", program, "--alone", "--sort", "index", "-o", tmp_path / "c.json")
    assert done.code == 0
    assert "alone dB" in done.out
    rows = json.loads((tmp_path / "c.json").read_text())
    assert [row["index"] for row in rows] == sorted(row["index"] for row in rows)
    assert {"mean_relative", "cosine", "rmse", "bands"} <= set(rows[0]["alone"])
    done = run("compare", files.model, program, "--data", files.data, "--op", "relu,matmul", "--bands", "2,20")
    assert done.code == 0
    assert "0-2" in done.out
    assert "2-20" in done.out
    assert run("diverge", program, integer).out == "all integers agree\n"
    (dumped,) = (integer).glob("*-y.npy")
    array = np.load(dumped)
    array.flat[1] += 1
    np.save(dumped, array)
    done = run("diverge", program, integer)
    assert done.code == 3
    assert "1 of 4 integers differ, by at most 1; first in sample 0 at [0, 1]" in done.out
    done = run("diverge", program, program)
    assert (done.code, done.err) == (2, "npuq: small, small: no data; give --data\n")


def test_the_reference_can_normalise_as_the_program_does(run: Run, files: Files, tmp_path: Path) -> None:
    numbers = ("--mean", "0.1,0.2,0.3", "--std", "0.5")
    assert run("quantize", files.model, "--data", files.data, "-o", tmp_path / "o", *numbers).code == 0
    program, out = tmp_path / "o" / "small.npuq", tmp_path / "c.json"
    errors = []
    for flags in ((), numbers):
        assert run("compare", files.model, program, "--data", files.data, "-o", out, *flags).code == 0
        errors.append(max(row["accumulated"]["rmse"] for row in json.loads(out.read_text())))
    assert errors[1] < 0.1 < errors[0]
