"""A framework that is not installed is one line with the command that brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from npuq.frontends import load, original
from npuq.frontends.caffe.schema import message
from npuq.ir import NpuqError


def test_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "net.pt2").write_bytes(b"")
    with pytest.raises(NpuqError, match=r"which is not installed: pip install 'npuq\[torch\]'$"):
        load(tmp_path / "net.pt2")


@pytest.mark.parametrize("name", ["net.pb", "net.keras", "net.h5"])
def test_tensorflow(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(NpuqError, match=r"need tensorflow, which is not installed: pip install 'npuq\[tensorflow\]'$"):
        load(tmp_path / name)


def test_litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(NpuqError, match=r"^LiteRT, .* is not installed: pip install 'npuq\[tflite\]'$"):
        original(tmp_path / "net.tflite")


def test_no_framework_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    net = message("NetWeights")()
    net.layer.add(name="r")
    (tmp_path / "n.caffemodel").write_bytes(net.SerializeToString())
    (tmp_path / "n.prototxt").write_text(
        'input: "x" input_shape { dim: 1 dim: 2 } layer { name: "r" type: "ReLU" bottom: "x" top: "r" }'
    )
    script = f"""
import sys, npuq
npuq.load({str(tmp_path / "n.prototxt")!r})
npuq.load(abs, inputs=__import__("numpy").ones(2))
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "tensorflow", "flax", "cv2", "onnxruntime", "paddle", "ai_edge_litert"}.intersection(
        done.stdout.split()
    )
