"""The code in the two guides, and the demo, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

USES_THE_PASS = """
from npuq.ir import parse
net = "graph @g(%x: f32[2]) {\\n  %a = relu %x : f32[2]\\n  %b = relu %a : f32[2]\\n  return %b\\n}\\n"
print(drop_double_relu()(parse(net)), end="")
try:
    no_double_relu(parse(net))
except NpuqError as error:
    print(error)
"""


def run(guide: str, more: str = "") -> str:
    """What the guide's Python blocks print, run in a process of their own: they register ops and passes."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    script = "\n".join(blocks) + more
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_adding_a_pass() -> None:
    chained, *graph, error = run("adding-a-pass.md", USES_THE_PASS).splitlines()
    assert " | fold-constants | " in chained
    assert chained.endswith(" | drop-double-relu")
    assert graph == ["graph @g(%x: f32[2]) {", "  %a = relu %x : f32[2]", "  return b=%a", "}"]
    assert error == "%b: relu: it reads a relu; run drop-double-relu"


def test_adding_an_op() -> None:
    assert run("adding-an-op.md") == ""


@pytest.mark.parametrize("guide", ["adding-a-pass.md", "adding-an-op.md"])
def test_what_a_guide_names_is_there(guide: str) -> None:
    text = (DOCS / guide).read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:ir|passes|frontends|tests|docs)/[\w/.*]+)`", text))
    missing = [path for path in paths if "drop_double_relu" not in path and not any(DOCS.parent.glob(path.rstrip("/")))]
    assert paths
    assert not missing


def test_the_demo_gives_the_figures_of_the_readme() -> None:
    root = DOCS.parent
    done = subprocess.run([sys.executable, root / "examples" / "demo.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "equal the simulator's in every bit" in done.stdout
    assert "[bold]" not in done.stdout
    readme = (root / "README.md").read_text(encoding="utf-8")
    for told, row in (("accuracy on 512 other pictures", "accuracy"), ("file", "file")):
        (cells,) = re.findall(rf"^\| {told} \|(.*)\|$", readme, re.MULTILINE)
        (shown,) = re.findall(rf"^{row} +(.*)$", done.stdout, re.MULTILINE)
        # Another kind of processor rounds floats otherwise, so a picture or a scale may differ.
        assert figures(shown) == pytest.approx(figures(cells), rel=0.01)


def figures(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d.,]*", text)]
