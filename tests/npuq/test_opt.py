"""`npuq opt`: pipelines as text do what `npuq quantize` does, and refuse bad specs before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
    ],
)
def test_bad_specs_are_one_line(run: Run, files: Files, tmp_path: Path, passes: str, message: str) -> None:
    done = run("opt", files.model, "--passes", passes, "-o", tmp_path / "out.ir")
    assert told(done).startswith(message)
    assert not (tmp_path / "out.ir").exists()


def test_passes_print_their_options_with_types(run: Run) -> None:
    listed = run("passes").out
    assert "lut_len: int = None" in listed
    assert "percentile: float = 0.99999" in listed
    assert "target: target name or .toml file" in listed
    assert told(run("passes", "--chain", "oops")) == "there is no chain 'oops'; there are canonicalize, quantize"
