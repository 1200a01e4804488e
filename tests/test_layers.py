"""Who may import whom, and the links that make the root folders the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("ir", "passes", "frontends", "backends")
ALLOWED = {
    "ir": {"ir"},
    "passes": {"passes", "ir"},
    "frontends": {"frontends", "ir"},
    "backends": {"backends", "passes", "ir"},
}
HEAVY = {"jax", "onnx", "scipy", "rich", "optax", "flax", "PIL"}
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The dotted module of each import in a file of the four folders, spelt from the root, with its line."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package), f"{path}:{node.lineno}: a relative import out of {package[0]}"
            stem = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            yield ".".join(["npuq", *filter(None, stem)]), node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_imports_only_the_layers_below_it(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    for module, line in imported(path):
        if module.split(".")[0] == "npuq":
            layer = module.partition(".")[2].partition(".")[0]
            assert layer in ALLOWED[own], f"{path.relative_to(ROOT)}:{line}: {own} may not import {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_within_a_folder_are_relative(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            assert not f"{module}.".startswith(f"npuq.{own}."), f"{path.relative_to(ROOT)}:{node.lineno}: {module}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_package_links_to_its_folders(folder: str) -> None:
    link = ROOT / "src" / "npuq" / folder
    assert link.is_symlink(), f"{link} is no link: was the checkout made without symbolic links?"
    assert link.readlink() == Path("..", "..", folder)
    assert (link / "__init__.py").is_file()


def test_the_scan_sees_what_it_must() -> None:
    found = dict(imported(ROOT / "passes" / "canonical" / "affine.py"))
    assert {"npuq.ir.Builder", "npuq.ir.ops.conv.Conv", "numpy"} <= found.keys()
    assert "npuq.passes.canonical.affine" in dict(imported(ROOT / "passes" / "canonical" / "fuse_bias.py"))


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, npuq; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY.intersection(loaded)
