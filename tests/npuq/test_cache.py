"""The persistent cache of compiled functions: another process finds what one compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from npuq.cache import cache_folder

PROGRAM = """
import sys, logging, jax, npuq
assert npuq.enable_cache(sys.argv[1]) == __import__("pathlib").Path(sys.argv[1])
counts = {}
jax.monitoring.register_event_listener(lambda event, **more: counts.update({event: counts.get(event, 0) + 1}))
import numpy as np
from npuq.ir import Builder, DType, TensorType
from npuq.ir.ops.activation import Relu
builder = Builder("small")
x = builder.input("x", TensorType(DType.F32, (2,)))
graph = builder.build({"y": builder.add(Relu(), x)})
print(np.asarray(npuq.evaluate(graph)(np.array([-1, 2], np.float32))[0]).tolist())
print(counts.get("/jax/compilation_cache/cache_hits", 0), file=sys.stderr)
"""


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    hits = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "cache")], capture_output=True, text=True, check=True
        )
        assert done.stdout == "[0.0, 2.0]\n"
        hits.append(int(done.stderr.splitlines()[-1]))
    assert hits[0] == 0
    assert hits[1] > 0


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "npuq" / "xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "npuq" / "xla"


def test_the_command_line_has_it_on(tmp_path: Path) -> None:
    command = "import sys, npuq.cli as c; sys.argv = ['npuq', 'targets']; c.main()"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, check=True)
    assert (tmp_path / "npuq" / "xla").is_dir()
    blocked = {**environment, "XDG_CACHE_HOME": str(tmp_path / "file" / "below")}
    (tmp_path / "file").write_text("no folder")
    subprocess.run([sys.executable, "-c", command], env=blocked, capture_output=True, check=True)
