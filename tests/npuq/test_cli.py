"""The commands, end to end on a small network."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import npuq
from npuq import cli
from npuq.backends import formats
from npuq.backends.formats import Settings
from npuq.backends.npu import program
from npuq.backends.simulator import simulator, to_edge
from npuq.files.graphs import load_text, read_graph
from npuq.ir import Graph, evaluate
from npuq.passes.precision import METHODS
from npuq.passes.target import FOLDER

from .conftest import Files, Run


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first finished `npuq quantize` is kept for the tests after it."""
    return tmp_path_factory.mktemp("kept") / "out"


@pytest.fixture
def out(run: Run, files: Files, tmp_path: Path, kept: Path) -> Path:
    """A finished `npuq quantize`, for this test alone."""
    if kept.exists():
        return Path(shutil.copytree(kept, tmp_path / "out"))
    done = run("quantize", files.model, "--data", files.data, "--method", "min_max", "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert "small on npu, min_max over 12 samples" in done.out
    shutil.copytree(tmp_path / "out", kept)
    return tmp_path / "out"


def test_quantize_writes_program_qdq_report_and_steps(out: Path, files: Files) -> None:
    written = ["report.html", "report.json", "small.npuq", "small_qdq.onnx", "small_quantize.onnx", "steps"]
    assert sorted(entry.name for entry in out.iterdir()) == written
    assert not [name for name in os.listdir(out.parent) if name.startswith(".")]
    x = np.load(files.data)[:1]
    graph = npuq.load(files.model)
    quantized = npuq.quantize(graph, np.load(files.data), method="min_max")
    assert (out / "small.npuq").read_bytes() == quantized.program.bytes
    report = json.loads((out / "report.json").read_text())
    assert {layer["name"] for layer in report["layers"]} >= {"r", "p", "y"}
    session = onnxruntime.InferenceSession(out / "small_qdq.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    step = quantized.scales["y"]
    np.testing.assert_allclose(y, quantized.simulate(x)[0], atol=1.01 * step)
    session = onnxruntime.InferenceSession(out / "small_quantize.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], quantized.simulate(x, raw=True)[0])


def test_steps_are_texts_that_parse_back(out: Path, files: Files) -> None:
    steps = sorted((out / "steps").glob("*.ir"))
    assert [step.stem.partition("-")[2] for step in steps][-3:] == [
        "correct-bias",
        "insert-fake-quant",
        "lower-to-integer",
    ]
    x = np.load(files.data)[:1]
    wanted = np.asarray(npuq.evaluate(npuq.load(files.model))(x)[0])
    for step in steps[:-3]:
        np.testing.assert_allclose(np.asarray(evaluate(load_text(step))(x)[0]), wanted, atol=1e-5)
    assert str(load_text(steps[-1])) == str(npuq.Program.load(out / "small.npuq").graph)


def test_quantize_again_replaces_its_files_and_keeps_others(out: Path, run: Run, files: Files) -> None:
    (out / "notes.txt").write_text("mine")
    (out / "steps" / "99-old.ir").write_text("old")
    before = (out / "small.npuq").read_bytes()
    assert run("quantize", files.model, "--data", files.data, "--method", "mse", "-o", out).code == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "steps" / "99-old.ir").exists()
    assert (out / "small.npuq").read_bytes() != before


def test_scales_and_dump_may_lie_in_the_new_folder(run: Run, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    flags = ("--scales-out", out / "s.json", "--dump", out / "dump", "--method", "min_max", "--effort", "0")
    done = run("quantize", files.model, "--data", files.data, "-o", out, *flags)
    assert (done.code, done.err) == (0, "")
    assert json.loads((out / "s.json").read_text())["format"] == "npuq-scales"
    assert sorted(os.listdir(out / "dump")) == ["fake-quant", "float", "integer"]
    assert (out / "small.npuq").exists()


def test_a_program_without_a_qdq_model_is_written_all_the_same(run: Run, files: Files, tmp_path: Path) -> None:
    flags = ("--bits", "16", "--opset", "13", "--effort", "0")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small_qdq.onnx").write_text("of an earlier run")
    done = run("quantize", files.model, "--data", files.data, "-o", tmp_path / "out", *flags)
    assert (done.code, done.err) == (0, "")
    assert "note: no small_qdq.onnx: " in done.out
    assert "i16 integers need opset 21, not 13" in done.out
    assert f"written: {tmp_path}/out/small.npuq, small_quantize.onnx, report.html" in done.out
    assert not (tmp_path / "out" / "small_qdq.onnx").exists()


def test_a_program_without_an_exact_onnx_form_is_written_all_the_same(
    out: Path, run: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise npuq.NpuqError("net:c: sums of 40000 products")

    monkeypatch.setattr("npuq.backends.formats.to_exact_onnx", refuse)
    done = run("quantize", files.model, "--data", files.data, "--method", "min_max", "-o", out)
    assert (done.code, done.err) == (0, "")
    assert "note: no small_quantize.onnx: net:c: sums of 40000 products" in done.out
    assert not (out / "small_quantize.onnx").exists()
    npuq.Program.load(out / "small.npuq").verify()


def test_quantize_with_pixel_statistics_and_target(run: Run, files: Files, tmp_path: Path) -> None:
    flags = (
        "--mean",
        "0.1,0.2,0.3",
        "--std",
        "2",
        "--target",
        "npu-asym",
        "--shape",
        "x:2,3,8,8",
        "--all",
        "--method",
        "min_max",
    )
    assert run("quantize", files.model, "--data", files.data, "-o", tmp_path / "o", *flags).code == 0
    loaded = npuq.Program.load(tmp_path / "o" / "small.npuq")
    assert loaded.target.name == "npu-asym"
    assert loaded.graph.inputs["x"].shape == (2, 3, 8, 8)
    x = np.load(files.data)[:2]
    normal = (x - np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 3, 1, 1)) / 2
    (wanted,) = npuq.evaluate(npuq.load(files.model, {"x": (2, 3, 8, 8)}))(normal)
    np.testing.assert_allclose(loaded.run(x)[0], wanted, atol=0.05 * float(np.abs(wanted).max()))


def test_quantize_at_16_bits(run: Run, files: Files, tmp_path: Path) -> None:
    flags = ("--bits", "16", "--weight-bits", "8", "--lut-len", "9")
    done = run("quantize", files.model, "--data", files.data, "-o", tmp_path / "o", *flags)
    assert (done.code, done.err) == (0, "")
    assert "small on npu, min_max over 12 samples" in done.out
    quantized = npuq.quantize(npuq.load(files.model), np.load(files.data), bits=16, weight_bits=8, lut_len=9)
    assert (tmp_path / "o" / "small.npuq").read_bytes() == quantized.program.bytes
    loaded = npuq.Program.load(tmp_path / "o" / "small.npuq")
    assert [str(type_.dtype) for type_ in loaded.graph.input_types] == ["i16"]
    for flag, text in (("--bits", "12"), ("--weight-bits", "16"), ("--lut-len", "7")):
        refused = run("quantize", files.model, "--data", files.data, "-o", tmp_path / "p", flag, text)
        assert refused.code == 2
        assert text in refused.err


def test_run_writes_what_the_program_gives(out: Path, run: Run, files: Files, tmp_path: Path) -> None:
    loaded = npuq.Program.load(out / "small.npuq")
    x = np.load(files.data)
    assert run("run", out / "small.npuq", "--input", files.data, "-o", tmp_path / "y.npy", "--verify").code == 0
    assert run("run", out / "small.npuq", "--input", files.data, "-o", tmp_path / "q.npz", "--raw").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), loaded.run(x)[0])
    with np.load(tmp_path / "q.npz") as archive:
        assert archive["y"].dtype == np.int8
        np.testing.assert_array_equal(archive["y"], loaded.run(x, raw=True)[0])
    quant = loaded.graph.inputs["x"].quant
    assert quant is not None
    integers = np.clip(np.rint(x.astype(np.float64) / quant.scale), -128, 127).astype(np.int8)
    np.save(tmp_path / "i.npy", integers)
    assert run("run", out / "small.npuq", "--input", tmp_path / "i.npy", "-o", tmp_path / "z.npy").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), np.load(tmp_path / "y.npy"))


def test_run_tells_a_program_that_breaks_its_promise(
    out: Path, run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: Graph) -> Callable[..., tuple[np.ndarray, ...]]:
        return lambda *inputs, raw: tuple(array ^ 1 for array in simulator(graph)(*inputs, raw=True))

    monkeypatch.setattr(program, "simulator", wrong)
    done = run("run", out / "small.npuq", "--input", files.data, "-o", tmp_path / "y.npy", "--verify")
    assert done.code == 3
    assert done.err.startswith("npuq: small: output 'y' of known answer 0: 4 of 4 elements differ")
    assert not (tmp_path / "y.npy").exists()


def test_inspect_describes_every_kind_of_file(out: Path, run: Run, files: Files) -> None:
    said = run("inspect", files.model)
    assert said.code == 0
    assert said.out.splitlines() == [
        "model small, opset 17",
        "input x: f32[N,3,8,8]",
        "output y",
        "3 constants: 160 numbers, 640 bytes",
        "5 operators: 1 Conv, 1 Relu, 1 GlobalAveragePool, 1 Flatten, 1 MatMul",
    ]
    said = run("inspect", next((out / "steps").glob("*-fold-constants.ir")))
    assert said.out.splitlines()[:3] == ["graph small", "input x: f32[1,3,8,8]", "output y: f32[1,4]"]
    said = run("inspect", out / "small.npuq")
    assert said.out.startswith("program small\ntarget npu: ")
    assert "npu.conv2d" in said.out
    assert "MACs" in said.out


def test_emit_gives_the_same_program_from_either_quantized_form(out: Path, run: Run, tmp_path: Path) -> None:
    (step,) = (out / "steps").glob("*-insert-fake-quant.ir")
    (lowered,) = (out / "steps").glob("*-lower-to-integer.ir")
    original = npuq.Program.load(out / "small.npuq")
    for source in (step, lowered, out / "small_qdq.onnx"):
        assert run("emit", source, "-o", tmp_path / "e.npuq").code == 0
        emitted = npuq.Program.load(tmp_path / "e.npuq")
        assert [node.op for node in emitted.graph.nodes] == [node.op for node in original.graph.nodes]
        x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
        np.testing.assert_array_equal(emitted.run(x, raw=True)[0], original.run(x, raw=True)[0])


@pytest.mark.parametrize("interface", ["integer", "fixed", "float"])
def test_emit_writes_the_exact_model_with_each_interface(out: Path, run: Run, tmp_path: Path, interface: str) -> None:
    assert run("emit", out / "small.npuq", "-o", tmp_path / "e.onnx", "--interface", interface).code == 0
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    program = npuq.Program.load(out / "small.npuq")
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    given = to_edge(program.graph, (x,))[0][0] if interface == "integer" else x
    (y,) = session.run(None, {"x": given})
    assert y.dtype == (np.int8 if interface == "integer" else np.float32)
    np.testing.assert_array_equal(y, program.run(x, raw=interface != "float")[0])
    (logits,) = program.graph.output_types
    said = json.loads(session.get_modelmeta().custom_metadata_map["npuq.outputs"])
    assert logits.quant is not None
    assert said["y"] == {"dtype": "i8", "scale": logits.quant.scale, "zero_point": 0}
    assert f'"scale": {logits.quant.scale!r}' in run("inspect", tmp_path / "e.onnx").out


def test_emit_refuses_an_unknown_interface(out: Path, run: Run, tmp_path: Path) -> None:
    done = run("emit", out / "small.npuq", "-o", tmp_path / "e.onnx", "--interface", "text")
    assert (done.code, done.err) == (2, "npuq: there is no interface 'text'; there are integer, fixed, float\n")


def test_emit_chooses_the_format_by_name(out: Path, run: Run, tmp_path: Path) -> None:
    (step,) = (out / "steps").glob("*-insert-fake-quant.ir")
    assert run("emit", step, "-o", tmp_path / "e.onnx", "--format", "qdq-onnx").code == 0
    assert (tmp_path / "e.onnx").read_bytes() == (out / "small_qdq.onnx").read_bytes()
    done = run("emit", step, "-o", tmp_path / "e.onnx", "--format", "elf")
    listed = "npu (.npuq), exact-onnx (.onnx), qdq-onnx (.onnx)"
    assert (done.code, done.err) == (2, f"npuq: there is no format 'elf'; there are {listed}\n")
    done = run("emit", step, "-o", "e.pb")
    assert (done.code, done.err) == (2, f"npuq: e.pb: '.pb' files cannot be written; there are {listed}\n")


def test_a_format_is_one_row(run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is all that quantize and emit need to write a new kind of file."""
    row = formats.Format("name", ".txt", "integer", lambda network, _: network.program.graph.name.encode())
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))
    done = run("quantize", files.model, "--data", files.data, "-o", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "small_qdq.onnx, small.txt, report.html" in done.out
    assert (tmp_path / "small.txt").read_text() == "small"
    assert run("emit", tmp_path / "small.npuq", "-o", tmp_path / "e.txt").code == 0
    assert (tmp_path / "e.txt").read_text() == "small"


def test_emit_wants_a_quantized_graph(run: Run, files: Files, tmp_path: Path) -> None:
    done = run("emit", files.model, "-o", tmp_path / "e.npuq")
    assert (done.code, done.err) == (2, "npuq: small: nothing in it is quantized; start with npuq quantize\n")
    assert not (tmp_path / "e.npuq").exists()


def test_compare_lists_layers_by_their_error(out: Path, run: Run, files: Files) -> None:
    done = run("compare", files.model, out / "small.npuq", "--data", files.data)
    assert done.code == 0
    header, *rows, _ = done.out.splitlines()
    assert header.split()[:2] == ["layer", "op"]
    assert {row.split()[0] for row in rows} >= {"r", "p", "y"}
    errors = [float(row.split()[3]) for row in rows]
    assert errors == sorted(errors, reverse=True)


def test_compare_reads_the_reference_as_quantize_did(run: Run, files: Files, tmp_path: Path) -> None:
    model = onnx.load(files.model)
    model.graph.input.append(onnx.helper.make_tensor_value_info("gain", onnx.TensorProto.FLOAT, []))
    model.graph.node.append(onnx.helper.make_node("Mul", ["y", "gain"], ["z"]))
    model.graph.output[0].name = "z"
    onnx.save(model, tmp_path / "gain.onnx")
    graph = npuq.load(tmp_path / "gain.onnx", values={"gain": 2.0}, outputs=["y"])
    npuq.quantize(graph, np.load(files.data), method="min_max").program.save(tmp_path / "gain.npuq")
    sides = (tmp_path / "gain.onnx", tmp_path / "gain.npuq")
    done = run("compare", *sides, "--data", files.data, "--value", "gain:2", "--output-name", "y")
    assert (done.code, done.err) == (0, "")
    assert {"r", "p", "y"} <= {line.split()[0] for line in done.out.splitlines()}
    refused = run("compare", *reversed(sides), "--data", files.data, "--value", "gain:2")
    assert refused.err == f"npuq: {sides[1]}: values given, but it is not a model of a framework\n"
    refused = run("emit", sides[1], "-o", tmp_path / "e.npuq", "--shape", "x:1,3,8,8")
    assert "shapes given, but those of .npuq files are fixed; leave them out (--shape)" in refused.err


def test_the_version_and_the_module(run: Run) -> None:
    assert run("--version").out == f"npuq {npuq.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "npuq", "--version"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (f"npuq {npuq.__version__}\n", "", 0)


def test_check_says_where_layers_run(run: Run, files: Files) -> None:
    done = run("check", files.model)
    assert done.code == 0
    assert "small.onnx: 5 of 5 layers run on npu, 0 on the host" in done.out


def test_check_lists_all_problems_at_once(run: Run, files: Files, tmp_path: Path, model: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    broken.graph.node[1].op_type = "Zip"
    broken.graph.node[2].op_type = "Unique"
    onnx.save(broken, tmp_path / "broken.onnx")
    done = run("check", tmp_path / "broken.onnx")
    assert done.code == 2
    assert "broken.onnx: 2 problems" in done.out
    assert "broken.onnx:act" in done.out
    assert "broken.onnx:pool" in done.out


def test_check_tells_what_the_host_runs(run: Run, files: Files, tmp_path: Path) -> None:
    text = (FOLDER / "npu.toml").read_text()
    (tmp_path / "less.toml").write_text(text.replace('name = "npu"', 'name = "less"').replace('"npu.reduce_sum", ', ""))
    done = run("check", files.model, "--target", tmp_path / "less.toml")
    assert done.code == 0
    assert "less has no npu.reduce_sum" in done.out
    assert "small.onnx:pool" in done.out
    assert "1 on the host" in done.out


def test_defaults_are_those_of_the_functions() -> None:
    given = inspect.signature(cli.quantize.quantize).parameters
    assert given["target"].default == inspect.signature(npuq.quantize).parameters["target"].default
    for name in ("method", "bits", "weight_bits", "lut_len", "percentile", "mean", "std"):
        assert given[name].default == getattr(npuq.Recipe(), name)
    assert given["effort"].default == npuq.Recipe().chosen_effort.name
    wanted = inspect.signature(npuq.assign).parameters
    chosen = inspect.signature(cli.template.template).parameters
    for name in ("target", "ratio", "sqnr", "saving", "bits", "lut_len", "percentile", "effort", "mean", "std"):
        assert chosen[name].default == wanted[name].default
    (option,) = given["method"].annotation.__metadata__
    assert all(method in option.help for method in METHODS)
    emitted = inspect.signature(cli.convert.emit, eval_str=True).parameters
    assert Settings() == Settings(emitted["interface"].default, emitted["opset"].default)
    assert given["opset"].default == emitted["opset"].default
    (option,) = emitted["format_"].annotation.__metadata__
    assert all(one.name in option.help for one in formats.FORMATS)


def test_targets_and_passes(run: Run) -> None:
    said = run("targets").out
    assert "npu-asym" in said
    assert "single_half_up" in said
    said = run("passes").out
    assert "fold-constants" in said
    assert "insert-fake-quant" in said


def test_a_graph_survives_text_and_blobs(out: Path) -> None:
    (lowered,) = (out / "steps").glob("*-lower-to-integer.ir")
    assert read_graph(lowered) == npuq.Program.load(out / "small.npuq").graph


def test_templates_go_from_command_to_command(run: Run, files: Files, tmp_path: Path) -> None:
    """Every quantized op has an entry; an edited one is taken, a wrong one is named."""
    mix, out = tmp_path / "mix.json", tmp_path / "out"
    done = run("template", files.model, "-o", mix)
    assert (done.code, done.err) == (0, "")
    assert done.out == "initial: 0.0 % of 3 ops are wide\n"
    wide = run("template", files.model, "-o", tmp_path / "wide.json", "--bits", "16")
    assert (wide.code, wide.out) == (0, "initial: 100.0 % of 3 ops are wide\n")
    assert json.loads((tmp_path / "wide.json").read_text()) == {
        name: {"bitwidth": 16, "mode": "min_max"} for name in "cpy"
    }
    entries = json.loads(mix.read_text())
    assert entries == {name: {"bitwidth": 8, "mode": "kl_v2"} for name in "cpy"}
    mix.write_text(
        json.dumps(entries | {"p": {"bitwidth": 8, "mode": "mse"}, "y": {"bitwidth": 16, "mode": "min_max"}})
    )
    done = run("quantize", files.model, "--data", files.data, "--template", mix, "-o", out)
    assert (done.code, done.err) == (0, "")
    graph = npuq.Program.load(out / "small.npuq").graph
    assert [str(type_.dtype) for type_ in (*graph.inputs.values(), *graph.output_types)] == ["i8", "i16"]
    mix.write_text('{"q": {"bitwidth": 8, "mode": "mse"}}')
    done = run("quantize", files.model, "--data", files.data, "--template", mix, "-o", out)
    assert done.code == 2
    assert done.err.startswith(f"npuq: {mix}: q: there is no such quantized op; there is ")


def test_the_curve_of_a_template_is_printed(run: Run, files: Files, tmp_path: Path) -> None:
    mix, curve, out = tmp_path / "mix.json", tmp_path / "curve.json", tmp_path / "out"
    options = ("--data", files.data, "--strategy", "optimal", "--ratio", "1", "--effort", "0", "--curve", curve)
    done = run("template", files.model, *options, "-o", mix)
    assert (done.code, done.err) == (0, "")
    assert "predicted dB" in done.out
    assert "optimal: 0.0 % of 3 ops are wide" in done.out
    flags = ("--data", files.data, "--template", mix, "--curve", curve, "--effort", "0", "-o", out)
    done = run("quantize", files.model, *flags)
    assert (done.code, done.err) == (0, "")
    points = json.loads(curve.read_text())["points"]
    assert json.loads((out / "report.json").read_text())["curve"] == points
    assert {point["wide"] for point in points if point["chosen"]} == {0.0}
    measured = npuq.assign(npuq.load(files.model), np.load(files.data), ratio=1, effort=0).chosen
    assert measured.cycles == points[0]["cycles"]
    assert "Mixed precision" in (out / "report.html").read_text()


def test_check_at_a_width(run: Run, files: Files) -> None:
    assert "5 of 5 layers run on npu" in run("check", files.model, "--bits", "16").out
    refused = run("check", files.model, "--bits", "12")
    assert (refused.code, refused.err) == (2, "npuq: npu has no activations of 12 bits; it has 8 and 16\n")
