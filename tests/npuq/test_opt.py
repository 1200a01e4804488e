"""`npuq opt`: pipelines as text do what `npuq quantize` does, and refuse bad specs before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import npuq
from benchmarks import data
from npuq.files.graphs import load_text
from npuq.quantization.recipe import Recipe

from .conftest import Files, Run, told

FASHION = Path(__file__).parents[2] / "examples" / "fashion"


def run_chain(run: Run, model: Path, samples: np.ndarray, folder: Path, recipe: Recipe) -> tuple[Path, Path]:
    """The graphs of `npuq opt` and of `npuq quantize`, as text."""
    np.save(folder / "data.npy", samples)
    recipe.save(folder / "recipe.toml")
    chain = run("passes", "--chain", "quantize", "--recipe", folder / "recipe.toml").out.strip()
    done = run("opt", model, "--passes", chain, "--data", folder / "data.npy", "-o", folder / "opt.ir")
    assert (done.code, done.err) == (0, "")
    done = run("quantize", model, "--data", folder / "data.npy", "--recipe", folder / "recipe.toml", "-o", folder / "q")
    assert (done.code, done.err) == (0, "")
    (last,) = (folder / "q" / "steps").glob("*-lower-to-integer.ir")
    return folder / "opt.ir", last


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(effort="high", input_dtype="uint8")], ids=str)
def test_a_chain_of_text_quantizes_the_demo_net_bit_for_bit(run: Run, tmp_path: Path, recipe: Recipe) -> None:
    samples = np.load(FASHION / "calibration.npz")["image"][:8].astype(np.float32)
    opt, quantize = run_chain(run, FASHION / "resnet.onnx", samples, tmp_path, recipe)
    assert opt.read_bytes() == quantize.read_bytes()


@pytest.mark.slow
@pytest.mark.zoo
def test_a_chain_of_text_quantizes_mobilenet_v2_bit_for_bit(run: Run, tmp_path: Path) -> None:
    bench = data.load("mobilenet_v2")
    opt, quantize = run_chain(run, bench.model, bench.calibration[:2], tmp_path, Recipe())
    assert opt.read_bytes() == quantize.read_bytes()


def test_graphs_of_any_level_are_read_and_written(run: Run, files: Files, tmp_path: Path) -> None:
    float_, again, onnx = (tmp_path / name for name in ("float.ir", "again.ir", "float.onnx"))
    assert run("opt", files.model, "--passes", "fold-constants", "-o", float_, "--dump", tmp_path / "steps").code == 0
    assert (tmp_path / "steps" / "00-fold-constants.ir").read_text() == float_.read_text()
    assert run("opt", float_, "--passes", "drop-dead-code", "-o", again, "--verify-each").code == 0
    assert run("opt", again, "--passes", "drop-dead-code", "-o", onnx).code == 0
    chain = 'set-precision{target="npu"} | collect-statistics | choose-ranges | insert-fake-quant'
    assert run("opt", onnx, "--data", files.data, "--passes", chain, "-o", tmp_path / "fake.ir").code == 0
    lowered = run("opt", tmp_path / "fake.ir", "--passes", 'lower-to-integer{target="npu"}', "-o", tmp_path / "int.ir")
    assert (lowered.code, lowered.err) == (0, "")
    assert any(node.op.name.startswith("npu.") for node in load_text(tmp_path / "int.ir").nodes)


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("fold-constants || drop-identity", "fold-constants |^| drop-identity: the name of a pass wanted"),
        ("collect-statistics", "collect-statistics: no target; give it as an option, or run set-precision before"),
        ('collect-channels{target="npu"}', "collect-channels: no data; give it (--data)"),
        (
            'choose-ranges{target="npu"}',
            "choose-ranges: no statistics; give it as an option, or run",
        ),
        ('set-precision{target="npu", bits=7}', "npu has no activations of 7 bits; it has 8 and 16 (in pass 0, set-"),
    ],
)
def test_bad_specs_are_one_line(run: Run, files: Files, tmp_path: Path, passes: str, message: str) -> None:
    done = run("opt", files.model, "--passes", passes, "-o", tmp_path / "out.ir")
    assert told(done).startswith(message)
    assert not (tmp_path / "out.ir").exists()


QUANTIZE = 'set-precision{target="npu"} | collect-statistics | choose-ranges | insert-fake-quant'


@pytest.mark.parametrize(
    ("passes", "pass_", "message"),
    [
        ("lower-to-integer | lower-to-integer", "lower-to-integer", "a graph with quantize and dequantize is wanted"),
        ("lower-to-integer | empirical-bias", "empirical-bias", "a graph with quantize and dequantize is wanted"),
        ("lower-to-integer | learn-rounding", "learn-rounding", "a graph with quantize and dequantize is wanted"),
        *(
            (name, name, "a float graph is wanted, as it is before insert-fake-quant")
            for name in ("insert-fake-quant", "correct-bias", "collect-statistics", "collect-channels")
        ),
    ],
)
def test_a_pass_on_another_level_is_refused(
    run: Run, files: Files, tmp_path: Path, passes: str, pass_: str, message: str
) -> None:
    chain = f"{QUANTIZE} | {passes}"
    line = told(run("opt", files.model, "--data", files.data, "--passes", chain, "-o", tmp_path / "out.ir"))
    assert f": {message}" in line
    assert line.endswith(f", {pass_})")


def test_channels_of_another_graph_are_refused(run: Run, files: Files, tmp_path: Path) -> None:
    chain = 'set-precision{target="npu"} | collect-channels | equalize | equalize'
    assert told(run("opt", files.model, "--data", files.data, "--passes", chain, "-o", tmp_path / "out.ir")) == (
        "small: no %r, channels of another graph; run collect-channels right before (in pass 3, equalize)"
    )


def test_passes_print_their_options_with_types(run: Run) -> None:
    listed = run("passes").out
    assert "lut_len: int = None" in listed
    assert "percentile: float = 0.99999" in listed
    assert "target: target name or .toml file" in listed
    assert told(run("passes", "--chain", "oops")) == "there is no chain 'oops'; there are canonicalize, quantize"


@pytest.mark.parametrize(
    ("recipe", "option"),
    [
        ("precision = {c = {bits = 16}}", "set-precision: nodes=<dict>"),
        ('input_dtype = {x = "uint8"}', "input-dtypes: dtypes=<dict>"),
        ("scales = {x = [{bits = 8, scale = 0.5}]}", "read-scales: file=<dict>"),
        ("mean = [nan]", "normalize-input: mean=(nan,)"),
    ],
)
def test_a_recipe_without_text_is_refused(run: Run, tmp_path: Path, recipe: str, option: str) -> None:
    (tmp_path / "r.toml").write_text(recipe)
    assert told(run("passes", "--chain", "quantize", "--recipe", tmp_path / "r.toml")) == (
        f"{option} cannot be written as text; leave it out, or run the recipe as it is (npuq quantize --recipe)"
    )


def test_flags_replace_the_fields_of_a_recipe_even_by_their_defaults(run: Run, files: Files, tmp_path: Path) -> None:
    Recipe(effort="minimal", bits=16).save(tmp_path / "r.toml")
    common = ("quantize", files.model, "--data", files.data, "--recipe", tmp_path / "r.toml")
    assert run(*common, "-o", tmp_path / "one").code == 0
    assert run(*common, "--effort", "standard", "--bits", "8", "-o", tmp_path / "two").code == 0
    one, two = ({path.name[3:] for path in (tmp_path / name / "steps").glob("*.ir")} for name in ("one", "two"))
    assert two - one == {"correct-bias.ir"}
    wanted = npuq.quantize(npuq.load(files.model), np.load(files.data))
    assert (tmp_path / "two" / f"{files.model.stem}.npuq").read_bytes() == wanted.program.bytes


def test_a_scale_file_stands_for_ranges_in_text(run: Run, files: Files, tmp_path: Path) -> None:
    quantized = npuq.quantize(npuq.load(files.model), np.load(files.data), effort=0)
    quantized.save_scales(tmp_path / "s.json")
    canonical = run("passes", "--chain", "canonicalize").out.strip()
    finish = f'insert-fake-quant{{target="npu", ranges="{tmp_path}/s.json"}} | lower-to-integer{{target="npu"}}'
    done = run("opt", files.model, "--passes", f"{canonical} | {finish}", "-o", tmp_path / "out.ir")
    assert (done.code, done.err) == (0, "")
    assert load_text(tmp_path / "out.ir") == quantized.graph
