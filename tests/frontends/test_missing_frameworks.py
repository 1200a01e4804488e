"""A framework that is not installed is one line with the command that brings it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from npuq.frontends import load
from npuq.ir import NpuqError


def test_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "net.pt2").write_bytes(b"")
    with pytest.raises(NpuqError, match=r"which is not installed: pip install 'npuq\[torch\]'$"):
        load(tmp_path / "net.pt2")
