"""The code of the guides and the demo runs, and the paths that guides name exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import ROOMS

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
    """Run the guide's Python blocks in a process of their own, since they register ops; return the output."""
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


@pytest.mark.parametrize("guide", ["adding-a-pass.md", "adding-an-op.md", "architecture.md"])
def test_paths_in_a_guide_exist(guide: str) -> None:
    text = (DOCS / guide).read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:ir|passes|frontends|backends|src/npuq|tests|docs)/[\w/.*-]*)`", text))
    missing = [path for path in paths if "drop_double_relu" not in path and not any(DOCS.parent.glob(path.rstrip("/")))]
    assert paths
    assert not missing


def test_names_in_the_architecture_are_defined_where_it_says() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:\w+\.)?(\w+)` in `([\w/]+\.py)`", text)
    missing = [
        (name, path)
        for name, path in named
        if not re.search(
            rf"^ *(?:def |class )?{name}\b", (DOCS.parent / path).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(named) > 4
    assert not missing


@pytest.mark.parametrize("folder", ["passes", "src/npuq"])
def test_the_architecture_lists_the_rooms_in_their_order(folder: str) -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^\| `{folder}/(\w+)/` \|", text, re.MULTILINE)
    rooms = ROOMS["passes" if folder == "passes" else ""]
    assert listed == [room for room in rooms if (DOCS.parent / folder / room / "__init__.py").is_file() and room]


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
