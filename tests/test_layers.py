"""What may import what, that no imports run in a circle, and the links that make the root folders the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACE = ROOT / "src" / "npuq"
FOLDERS = ("ir", "passes", "frontends", "backends")
ALLOWED = {
    "ir": {"ir"},
    "passes": {"passes", "ir"},
    "frontends": {"frontends", "ir"},
    "backends": {"backends", "passes", "ir"},
}
ROOMS = {
    "passes": ("", "canonical", "lowering", "calibration", "quantize", "ptq", "mixed"),
    "backends": ("", "memory", "write_file", "simulator", "qdq", "exact_onnx", "npu", "targets", "formats"),
    "": ("comparison", "files", "report", "quantization", "mixing", "", "cli", "__main__"),
}
"""The rooms of passes/, backends/ and src/npuq/ from the lowest up; each imports those before it. "" is the root."""

HEAVY = {"jax", "onnx", "scipy", "rich", "optax", "flax", "PIL"}
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {
    ".".join(
        ["npuq", *path.relative_to(FACE if path.is_relative_to(FACE) else ROOT).with_suffix("").parts]
    ).removesuffix(".__init__"): path
    for path in (
        *SOURCES,
        *sorted(FACE.glob("*.py")),
        *(path for room in ROOMS[""] if room for path in sorted((FACE / room).rglob("*.py"))),
    )
}
"""Every file of the product by its dotted name."""


def imports(tree: ast.AST, package: tuple[str, ...], *, types: bool) -> Iterator[tuple[str, int]]:
    """The dotted name of all that a tree imports, with its line; `types`: under `if TYPE_CHECKING`, too."""
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package), f"{'/'.join(package)}: line {node.lineno}: an import out of the package"
            stem = [*package[: len(package) - node.level + 1 if node.level else 0], *filter(None, [node.module])]
            yield from ((".".join([*stem, alias.name]), node.lineno) for alias in node.names)
        yield from imports(node, package, types=types)


@cache
def imported(module: str, *, types: bool = True) -> Mapping[str, int]:
    """All that a module imports, from anywhere, with its line."""
    path, parts = MODULES[module], tuple(module.split("."))
    package = parts if path.stem == "__init__" else parts[:-1]
    return dict(imports(ast.parse(path.read_text(encoding="utf-8")), package, types=types))


def file_of(name: str) -> str | None:
    """The module that a dotted name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def room(module: str) -> tuple[str, str] | None:
    """The folder with rooms that a module is in, and its room there."""
    parts = module.split(".")[1:]
    if not parts or (parts[0] in FOLDERS and parts[0] not in ROOMS):
        return None
    folder = parts.pop(0) if parts[0] in ROOMS else ""
    return folder, parts[0] if parts and parts[0] in ROOMS[folder] else ""


def circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """One circle after the other, each broken once it is found."""
    left = {module: set(targets) for module, targets in edges.items()}
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            yield circle
            left[circle[0]].discard(circle[1])
        else:
            return


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_the_layers_below_it(folder: str) -> None:
    for module in MODULES:
        for name, line in imported(module).items() if module.split(".")[1:2] == [folder] else ():
            if name.startswith("npuq."):
                assert name.split(".")[1] in ALLOWED[folder], f"{MODULES[module]}:{line}: {folder} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_within_a_folder_are_relative(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            assert not f"{module}.".startswith(f"npuq.{own}."), f"{path.relative_to(ROOT)}:{node.lineno}: {module}"


def test_a_room_imports_only_the_rooms_below_it() -> None:
    for module in MODULES:
        for name, line in imported(module, types=False).items():
            target = file_of(name)
            here, there = room(module), target and room(target)
            if here and there and here[0] == there[0]:
                order = ROOMS[here[0]]
                wrong = f"{MODULES[module]}:{line}: {here[1] or 'the root'} imports {name}"
                assert order.index(there[1]) <= order.index(here[1]), wrong


def test_no_imports_run_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for module in MODULES:
        targets = set(filter(None, map(file_of, imported(module, types=False)))) - {module}
        # To import a module runs the packages around it, except those that are running already.
        around = {".".join(target.split(".")[:end]) for target in targets for end in range(2, target.count(".") + 1)}
        edges[module] = targets | {package for package in around if not f"{module}.".startswith(f"{package}.")}
    assert list(circles(edges)) == []


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"d2"}, "d2": {"d"}}
    assert sorted(map(sorted, map(set, circles(edges)))) == [["a", "b", "c"], ["d", "d2"]]


def test_the_root_of_passes_is_small() -> None:
    modules = [path for path in (ROOT / "passes").glob("*.py") if path.stem != "__init__"]
    assert 0 < len(modules) <= 10, modules


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_a_folder_says_in_one_line_what_lives_there(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert said
    assert "\n" not in said


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_package_links_to_its_folders(folder: str) -> None:
    link = FACE / folder
    assert link.is_symlink(), f"{link} is no link: was the checkout made without symbolic links?"
    assert link.readlink() == Path("..", "..", folder)
    assert (link / "__init__.py").is_file()


def test_the_scan_sees_what_it_must() -> None:
    affine, evaluate = "npuq.passes.canonical.affine", imported("npuq.api")
    assert {"npuq.ir.Builder", "npuq.ir.ops.conv.Conv", "numpy"} <= imported(affine).keys()
    assert affine in map(file_of, imported("npuq.passes.canonical.fuse_bias"))
    assert "npuq.quantization.annotated.quantize_annotated" in evaluate, "an import inside a function"
    assert "npuq.api.load" in imported("npuq"), "an import for types"
    assert "npuq.api.load" not in imported("npuq", types=False)
    assert room("npuq.passes.mixed.hessian") == ("passes", "mixed")
    assert room("npuq.api") == ("", "")
    assert room("npuq.ir.graph") is None


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, npuq; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY.intersection(loaded)
