"""Whatever a user gives: exit code 2, one line that says where and what, and nothing half-written."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import npuq

from .conftest import Files, Run, told

KINDS = "bmp, dib, jpeg, jpg, png, webp, pbm, pgm, ppm, tiff, tif, npy or npz"


def test_arguments(run: Run, files: Files, tmp_path: Path) -> None:
    help_ = "; see npuq --help"
    assert told(run("quantise")) == f"No such command 'quantise'. Did you mean 'quantize'?{help_}"
    assert told(run("quantize", files.model)).endswith(": no calibration data; give some (--data)")
    assert told(run("check", files.model, "--colour")) == f"No such option: --colour{help_}"
    base = ("quantize", files.model, "--data", files.data, "-o", tmp_path / "out")
    assert told(run(*base, "--shape", "x=1,3")) == "--shape x=1,3: a name and sizes wanted, as in x:1,3,224,224"
    assert told(run(*base, "--value", "sr")) == "--value sr: a name and a number wanted, as in sr:16000"
    assert told(run(*base, "--mean", "a")) == "--mean a: numbers wanted, as in 123.7,116.3,103.5"
    methods = "min_max, percentile, mse, kl, kl_v2"
    assert told(run(*base, "--method", "magic")) == f"there is no calibration method 'magic'; there are {methods}"
    targets = "known: npu, npu-asym, npu-tflite, or a .toml file"
    assert told(run(*base, "--target", "tpu")) == f"there is no target 'tpu'; {targets}"
    assert "'y'; the inputs are x: f32[N,3,8,8]" in told(run(*base, "--shape", "y:1,3,8,8"))
    assert "shape 1,3,9,9 given, but input x: f32[N,3,8,8] is declared" in told(run(*base, "--shape", "x:1,3,9,9"))
    assert told(run(*base, "--mean", "1,2")) == "small: input %x: 2 numbers in mean, 1 or 3 (axis 1) wanted"
    assert not (tmp_path / "out").exists()


def test_paths(run: Run, files: Files, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    (tmp_path / "empty").mkdir()
    no_file = f"{gone}: there is no such file"
    assert told(run("check", gone)) == no_file
    assert told(run("inspect", gone)) == no_file
    assert told(run("emit", gone, "-o", tmp_path / "a.npuq")) == no_file
    assert told(run("run", gone, "--input", files.data, "-o", tmp_path / "a.npy")) == no_file
    assert told(run("quantize", gone, "--data", files.data, "-o", tmp_path / "out")) == no_file
    assert told(run("compare", files.model, gone, "--data", files.data)) == no_file
    quantize = ("quantize", files.model, "-o", tmp_path / "out", "--data")
    assert told(run(*quantize, gone)) == f"{no_file} or folder"
    empty = f"{tmp_path}/empty: no images or arrays, the folder is empty; supported are {KINDS}"
    assert told(run(*quantize, tmp_path / "empty")) == empty
    assert told(run("inspect", files.data)).endswith("'.npy' files cannot be read; supported are .onnx, .ir or .npuq")
    assert sorted(os.listdir(tmp_path)) == ["data.npy", "empty", "small.onnx"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:, :2], "shape [12,2,8,8] does not fit input 'x', f32[1,3,8,8]"),
        (lambda x: x[:0], "shape [0,3,8,8] holds no samples for input 'x', f32[1,3,8,8]"),
        (lambda x: x.astype(complex), "complex128 data do not fit input 'x', which is f32"),
        (
            lambda x: np.where(np.arange(12).reshape(-1, 1, 1, 1) == 10, np.nan, x),
            "sample 10 of input 'x' holds NaN or infinity",
        ),
    ],
)
def test_data(run: Run, files: Files, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], said: str) -> None:
    np.save(tmp_path / "bad.npy", change(np.load(files.data)))
    done = run("quantize", files.model, "--data", tmp_path / "bad.npy", "-o", tmp_path / "out")
    if "shape [0" in said:
        assert told(done).startswith(f"{tmp_path}/bad.npy: ")
    else:
        assert told(done) == f"{tmp_path}/bad.npy: {said}"
    assert sorted(os.listdir(tmp_path)) == ["bad.npy", "data.npy", "small.onnx"]


def test_names_in_an_archive(run: Run, files: Files, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", image=np.load(files.data), label=np.zeros(12))
    done = run("quantize", files.model, "--data", tmp_path / "bad.npz", "-o", tmp_path / "out")
    assert told(done) == f"{tmp_path}/bad.npz: there is no input 'image'; the inputs are x: f32[1,3,8,8]"


def test_a_full_disk(run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    out.mkdir()
    (out / "small.npuq").write_text("old")
    quantize = ("quantize", files.model, "--data", files.data, "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", no_space)
        assert told(run(*quantize)) == f"{out}: not written: No space left on device"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        assert told(run(*quantize)) == f"{out}: not written: No space left on device"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        assert told(run(*quantize)).endswith("not written: No space left on device")
    assert sorted(os.listdir(tmp_path)) == ["data.npy", "out", "small.onnx"]
    assert os.listdir(out) == ["small.npuq"]
    assert (out / "small.npuq").read_text() == "old"


def test_results_that_do_not_fit_their_file(run: Run, files: Files, tmp_path: Path, program: Path) -> None:
    base = ("run", program, "--input", files.data, "-o")
    assert told(run(*base, tmp_path / "y.csv")) == f"{tmp_path}/y.csv: results are written to .npy or .npz files"
    gone = tmp_path / "gone"
    assert told(run(*base, gone / "y.npy")).endswith(f"not written: there is no folder {gone}; make it first")
    assert told(run(*base, tmp_path)).endswith("results are written to .npy or .npz files")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("quantize MODEL --data DATA -o DATA", "DATA: not written: it is a file, a folder wanted"),
        ("quantize MODEL --data DATA -o out --dump DATA", "DATA: not written: it is a file, a folder wanted"),
        (
            "quantize MODEL --data DATA -o out --scales-out no/s",
            "no/s: not written: there is no folder no; make it first",
        ),
        ("quantize MODEL --data DATA -o out --scales-out out", "out: not written: it is a folder, a file wanted"),
        (
            "quantize MODEL --data DATA -o out --opset 12",
            "opset 12: 13 (the first with scales per channel) to ",
        ),
        ("quantize MODEL --data DATA -o out --lut-len 7", "lut_len 7: npu has tables of 2^n + 1 entries for n of "),
        (
            "quantize MODEL --data DATA -o out --percentile 2",
            "calibration: percentile 2.0, a share above 0.5 and up to ",
        ),
        ("quantize MODEL --data DATA -o out --scales-in no", "no: cannot be read: "),
        (
            "template MODEL --data DATA -o no/t.json --strategy optimal",
            "no/t.json: not written: there is no folder no; ",
        ),
        ("template MODEL -o t.json --method foo", "there is no calibration method 'foo'; there are min_max, "),
        ("template MODEL -o t.json --bits 12", "npu has no activations of 12 bits; it has 8 and 16"),
        ("template MODEL -o t.json --curve c.json", "c.json: strategy initial has no curve; leave out --curve"),
        ("template MODEL -o t.json --sqnr 30", "sqnr: strategy initial does not use it; auto does"),
        ("quantize MODEL --data DATA -o out --curve DATA", "DATA: cannot be read: "),
        ("quantize MODEL --data DATA -o out --curve no", "no: there is no such file"),
        ("run PROGRAM --input DATA -o no/y.npy", "no/y.npy: not written: there is no folder no; make it first"),
        ("emit PROGRAM -o no/e.npuq", "no/e.npuq: not written: there is no folder no; make it first"),
        ("convert MODEL -o no/m.onnx", "no/m.onnx: not written: there is no folder no; make it first"),
        ("convert MODEL -o m.txt", "m.txt: '.txt' files cannot be written; supported are .onnx or .ir"),
        ("compare MODEL PROGRAM --data DATA -o no/c", "no/c: not written: there is no folder no; make it first"),
        ("compare MODEL PROGRAM --data DATA --sort x", "there is no measure 'x'; there are index, "),
        ("compare MODEL PROGRAM --data DATA --sort alone-rmse", "alone-rmse: the layers were not measured alone; "),
    ],
)
def test_what_can_be_refused_at_once_is_refused_before_any_work(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path, command: str, said: str
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    for place in (
        "npuq.passes.calibration.collect_statistics.observe",
        "npuq.mixing.assign.calibrate",
        "npuq.comparison.compare.differences",
    ):
        monkeypatch.setattr(place, work)
    monkeypatch.setattr("npuq.comparison.verify_import.compare_with_original", work)
    monkeypatch.setattr("npuq.files.results.run_batches", work)
    monkeypatch.setattr("npuq.backends.formats.Network", work)
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": files.model.name, "DATA": files.data.name, "PROGRAM": program.name}
    before = sorted(os.listdir(tmp_path))
    done = run(*(names.get(word, word) for word in command.split()))
    assert told(done).startswith(said.replace("DATA", files.data.name))
    assert sorted(os.listdir(tmp_path)) == before


@pytest.fixture
def program(files: Files, tmp_path: Path) -> Path:
    """A program file."""
    x = np.load(files.data)
    npuq.quantize(npuq.load(files.model), x, method="min_max").program.save(tmp_path / "small.npuq")
    return tmp_path / "small.npuq"


def damaged(content: bytes, seed: int) -> bytes:
    """The content with bytes flipped, cut out or put in, or cut short."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 20))):
        at = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0 | 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                del changed[at + 1 :]
    return bytes(changed)


def test_damaged_programs(run: Run, files: Files, tmp_path: Path, program: Path) -> None:
    content = program.read_bytes()
    for seed in range(40):
        bad = damaged(content, seed)
        if bad == content:
            continue
        (tmp_path / "bad.npuq").write_bytes(bad)
        told(run("run", tmp_path / "bad.npuq", "--input", files.data, "-o", tmp_path / "y.npy"))
        assert not (tmp_path / "y.npy").exists()


def test_damaged_models_are_refused_or_still_models(run: Run, files: Files, tmp_path: Path) -> None:
    content = files.model.read_bytes()
    refused = 0
    for seed in range(40):
        (tmp_path / "bad.onnx").write_bytes(damaged(content, seed))
        done = run("check", tmp_path / "bad.onnx")
        assert done.code in (0, 2)
        assert "Traceback" not in done.err
        assert done.err.count("\n") == (done.code == 2 and not done.out)
        refused += done.code == 2
    assert refused >= 10


def test_a_fault_of_ours_is_told_apart(run: Run, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("npuq.check.check", fail)
    done = run("check", files.model)
    assert (done.code, done.err) == (1, "npuq: a fault of npuq itself, ZeroDivisionError: oh; --debug shows where\n")


def test_debug_shows_where(run: Run, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["npuq", "check", "gone.onnx", "--debug"])
    from npuq.cli import main

    with pytest.raises(npuq.NpuqError, match=r"^gone\.onnx: there is no such file$"):
        main()


def test_a_model_that_names_files_outside_its_folder(run: Run, files: Files, tmp_path: Path) -> None:
    model = onnx.load(files.model)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    assert "leaves the model's folder" in told(run("quantize", tmp_path / "bad.onnx", "--data", files.data))
