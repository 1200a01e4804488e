"""Paddle programs of both generations: the imported graph computes what Paddle computes.

Paddle runs in processes of its own, with this Python or the one that NPUQ_PADDLE_PYTHON names.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.frontends import load, recognize
from npuq.frontends.paddle.load import PYTHON, _reason
from npuq.frontends.paddle.parameters import require_whole
from npuq.frontends.paddle.source import source_of
from npuq.ir import Graph, NpuqError
from tests import zoo

SHAPES = {"cls": (1, 3, 48, 192), "det": (1, 3, 160, 160), "rec": (1, 3, 48, 160)}

MADE = """
import sys
import paddle
folder, kind, function = sys.argv[1:]
paddle.enable_static()
paddle.seed(0)
with (paddle.pir_utils.OldIrGuard if kind == "pdmodel" else paddle.pir_utils.IrGuard)():
    main, start = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, start):
        x = paddle.static.data("x", [-1, 3, -1, -1], "float32")
        c = paddle.nn.Conv2D(3, 4, 3, padding=1)(x)
        y = paddle.nn.functional.hardswish(c).mean([2, 3])
        y = getattr(paddle, function)(y) if function else y
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(start)
        paddle.static.save_inference_model(folder + "/net", [x], [y], executor, program=main)
"""
"""A small network, maybe with one of Paddle's functions at its end."""


@functools.cache
def generation() -> int:
    """The major version of paddle2onnx that there is beside Paddle; 0 where one is missing."""
    script = "import importlib.metadata as m; m.version('paddlepaddle'); print(m.version('paddle2onnx').split('.')[0])"
    python = os.environ.get(PYTHON) or sys.executable
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def need(major: int) -> None:
    if generation() != major:
        pytest.skip(f"Paddle with paddle2onnx {major} is not installed: pip install '.[paddle]', or name a {PYTHON}")


def made(folder: Path, kind: str, function: str = "") -> Path:
    """The program of a small network, written by Paddle."""
    python = os.environ.get(PYTHON) or sys.executable
    done = subprocess.run(
        [python, "-c", MADE, folder, kind, function], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder / f"net.{kind}"


def refused(source: Path, weights: Path | None = None) -> str:
    with pytest.raises(NpuqError) as caught:
        load(source, weights=weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "major"), [("pdmodel", 1), ("json", 2)])
def test_a_program_of_each_generation(tmp_path: Path, kind: str, major: int) -> None:
    """Open sizes are given by `shapes`; an open batch is 1."""
    need(major)
    path = made(tmp_path, kind)
    shapes = {"x": (1, 3, 8, 6)}
    graph = npuq.load(path, shapes)
    (difference,) = npuq.verify_import(graph, path, shapes=shapes)
    assert difference.share < 1e-5
    assert graph.name == "net"
    assert "fix them, for example: --shape x:1,3,224,224" in refused(path)
    weights = path.with_suffix(".pdiparams").rename(tmp_path / "w.bin")
    assert load(path, shapes, weights=weights) == graph
    whole = weights.read_bytes()
    weights.write_bytes(whole[:200])
    told = refused(path, weights)
    assert told.startswith("w.bin: not a complete file of weights: tensor ")
    assert told.endswith(f" is cut off, {len(whole) - 200} are missing")


@pytest.mark.parametrize(
    ("kind", "major", "said"),
    [
        ("pdmodel", 1, "paddle2onnx has no converter for digamma"),
        ("json", 2, "paddle2onnx has no converter for one of its operators, and does not say for which"),
    ],
)
def test_operators_that_paddle2onnx_lacks(tmp_path: Path, kind: str, major: int, said: str) -> None:
    need(major)
    assert refused(made(tmp_path, kind, "digamma")) == f"net.{kind}: {said}"


def test_the_other_generation_is_named_with_its_command(tmp_path: Path) -> None:
    if not generation():
        need(1)
    kind, other = ("json", 2) if generation() == 1 else ("pdmodel", 1)
    told = refused(made(tmp_path, kind))
    assert f" and needs paddle2onnx {other}, but {generation()}." in told
    assert "installed: pip install " in told


def twins(name: str) -> tuple[Graph, Graph]:
    """A network of the zoo as Paddle has it, and as ONNX."""
    need(1)
    shapes = {"x": SHAPES[name]}
    return npuq.load(zoo.path(f"ppocr_{name}_paddle"), shapes), npuq.load(zoo.path(f"ppocr_{name}"), shapes)


def samples(name: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPES[name][1:])).astype(np.float32)


@pytest.mark.zoo
@pytest.mark.parametrize("name", SHAPES)
def test_ppocr_computes_what_paddle_and_its_twin_compute(name: str) -> None:
    graph, twin = twins(name)
    (difference,) = npuq.verify_import(graph, zoo.path(f"ppocr_{name}_paddle"), shapes={"x": SHAPES[name]})
    assert difference.share < 1e-4
    ours, theirs = (np.asarray(npuq.evaluate(one)(samples(name)[:1])[0]) for one in (graph, twin))
    assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs)


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_ppocr_and_its_twin_have_the_same_scales(name: str) -> None:
    one, two = (npuq.quantize(net, samples(name), effort=0) for net in twins(name))
    np.testing.assert_allclose(sorted(one.scales.values()), sorted(two.scales.values()), rtol=1e-3)
    for ours, theirs in zip(one.simulate(samples(name)), two.simulate(samples(name)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.ptp(theirs))


def test_what_is_recognized(tmp_path: Path) -> None:
    for name in ("inference.pdmodel", "inference.json"):
        assert recognize(tmp_path / name) == "paddle"
    (tmp_path / "inference.json").write_text("{}")
    assert recognize(tmp_path) == "paddle"


PIR = json.dumps({"base_code": {"magic": "pir"}})


def test_files_that_are_missing_or_no_models(tmp_path: Path) -> None:
    program = tmp_path / "inference.json"
    assert refused(program) == f"{program}: there is no such file"
    program.write_text(PIR[:-3])
    assert refused(program).startswith("inference.json: damaged: ")
    program.write_text("{}")
    assert refused(program) == "inference.json: not a Paddle program"
    program.write_text(PIR)
    wanted = "name the weights: --weights FILE.pdiparams"
    assert refused(program) == f"inference.json: no .pdiparams file beside it; {wanted}"
    for name in ("a.pdiparams", "b.pdiparams"):
        (tmp_path / name).touch()
    assert refused(program) == f"inference.json: 2 .pdiparams files beside it; {wanted}"
    assert refused(program, tmp_path / "c") == f"{tmp_path / 'c'}: there is no such file"
    assert refused(tmp_path / "a.pdiparams") == (
        "a.pdiparams: not a program; name the program and its weights: "
        "npuq.load('inference.pdmodel', weights='a.pdiparams')"
    )
    found = source_of(tmp_path, tmp_path / "a.pdiparams")
    assert (found.program, found.name) == (program, tmp_path.name)
    (tmp_path / "other.pdmodel").touch()
    listed = "found inference.json, other.pdmodel; name the file"
    assert refused(tmp_path) == f"{tmp_path}: one .json or .pdmodel wanted, {listed}"


def test_paddle_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pdmodel").touch()
    (tmp_path / "net.pdiparams").touch()
    monkeypatch.setenv(PYTHON, str(tmp_path / "python"))
    assert refused(tmp_path / "net.pdmodel") == f"{PYTHON}: {tmp_path / 'python'}: No such file or directory"
    monkeypatch.delenv(PYTHON)
    monkeypatch.setattr(sys, "executable", str(_without_packages(tmp_path)))
    assert refused(tmp_path / "net.pdmodel") == (
        "net.pdmodel: Paddle models need paddlepaddle, which is not installed: pip install 'npuq[paddle]'"
    )


def _without_packages(folder: Path) -> Path:
    """This Python, where nothing but NumPy is found."""
    python, found = folder / "bare", folder / "packages"
    found.mkdir()
    numpy = Path(np.__file__).parent
    for package in (numpy, numpy.with_name("numpy.libs")):
        if package.exists():
            (found / package.name).symlink_to(package)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{found}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


def test_weights_are_walked_to_their_end(tmp_path: Path) -> None:
    description = bytes([8, 5, 16, 2, 16, 3])
    tensor = struct.pack("<IQIi", 0, 0, 0, len(description)) + description + bytes(24)
    path = tmp_path / "w.pdiparams"
    for data, said in (
        (tensor * 2, ""),
        (b"", ""),
        (tensor + tensor[:-1], "tensor 2 of 24 bytes is cut off, 1 are missing"),
        (tensor + b"x", "tensor 2 is not of version 0"),
        (tensor[:25], "its description is damaged"),
        (tensor.replace(bytes([8, 5, 16]), bytes([8, 7, 16])), "elements of type 7 are not known"),
        (struct.pack("<IQQ", 0, 1, 99) + tensor, "tensor 1 is cut off"),
    ):
        path.write_bytes(data)
        if not said:
            require_whole(path)
            continue
        with pytest.raises(NpuqError) as caught:
            require_whole(path)
        assert str(caught.value) == f"w.pdiparams: not a complete file of weights: {said}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("x\nnpuq: it is so\n", "it is so"),
        ("IndexError: Input conv.w_0 is undefined!", "its weights lack conv.w_0: they are damaged, or another model's"),
        ("warn\n\x1b[31m[Paddle2ONNX] Failed to parse it.\x1b[0m\n", "Paddle cannot read it: Failed to parse it."),
        ("", "Paddle cannot read it: its process ended with code 7"),
    ],
)
def test_a_failed_process_is_one_line(said: str, told: str) -> None:
    assert _reason(7, said) == told
