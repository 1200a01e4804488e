"""The output formats, a row each: whatever writes or reads a quantized network's files finds them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from npuq.ir import Graph, NpuqError
from npuq.ir.ops.npu.result import Integer
from npuq.ir.ops.quant import Quantize
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.pipeline import chain
from npuq.passes.target import Target, load_target

from .exact_onnx import Interface, to_exact_onnx
from .npu import Program
from .qdq import to_onnx
from .qdq.writer import OPSET

if TYPE_CHECKING:
    from onnx import ModelProto

Level = Literal["fake-quant", "integer"]
"""The level of the graph that a format takes; a float graph is a fake-quant one without scales."""


class Levels(Protocol):
    """A network at the levels that formats take."""

    @property
    def qdq(self) -> Graph: ...

    @property
    def program(self) -> Program: ...


@dataclass(frozen=True)
class Network:
    """The levels of one graph: a fake-quant graph is lowered where a format takes integers."""

    qdq: Graph
    target: str | Target = "npu"

    @property
    def program(self) -> Program:
        """The program, without known answers; raises `NpuqError` where nothing is quantized or a rule is broken."""
        graph, target = self.qdq, load_target(self.target)
        if not any(isinstance(node.op, Integer) for node in graph.nodes):
            if not any(isinstance(node.op, Quantize) for node in graph.nodes):
                raise NpuqError(f"{graph.name}: nothing in it is quantized; start with npuq quantize")
            graph = chain(canonicalize(), lower_to_integer(target=target))(graph)
        return Program.make(graph, target)


@dataclass(frozen=True)
class Settings:
    """The choices that a format leaves to the user; each reads its own."""

    interface: Interface = "fixed"
    opset: int = OPSET


@dataclass(frozen=True)
class Format:
    """A kind of file.

    `npuq quantize` writes one of each, named like the model with `ending` behind it. `read` reads a program back.
    """

    name: str
    ending: str
    level: Level
    emit: Callable[[Levels, Settings], bytes]
    read: Callable[[Path], Program] | None = None

    @property
    def suffix(self) -> str:
        return self.ending[self.ending.rindex(".") :]


def _bytes(model: ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


FORMATS = (
    Format("npu", ".npuq", "integer", lambda network, _: network.program.bytes, Program.load),
    Format(
        "exact-onnx",
        "_quantize.onnx",
        "integer",
        lambda network, settings: _bytes(to_exact_onnx(network.program.graph, interface=settings.interface)),
    ),
    Format(
        "qdq-onnx",
        "_qdq.onnx",
        "fake-quant",
        lambda network, settings: _bytes(to_onnx(network.qdq, opset=settings.opset)),
    ),
)

PROGRAMS: Mapping[str, Callable[[Path], Program]] = {one.suffix: one.read for one in FORMATS if one.read is not None}
"""The function that reads a program back, by the file's suffix."""


def find_format(path: Path, name: str | None = None) -> Format:
    """The format of this name, or else the first with the path's suffix; raises `NpuqError` that lists them."""
    for one in FORMATS:
        if one.name == name if name is not None else one.suffix == path.suffix:
            return one
    wrong = f"{path}: {path.suffix!r} files cannot be written" if name is None else f"there is no format {name!r}"
    raise NpuqError(f"{wrong}; there are {', '.join(f'{one.name} ({one.suffix})' for one in FORMATS)}")
