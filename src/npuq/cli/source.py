"""The network that a command reads, with the options of reading: the same for all commands that take one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import Shapes, Side, names_of, shapes_of, values_of

if TYPE_CHECKING:
    from npuq.comparison.dump import Dump
    from npuq.frontends import Options
    from npuq.frontends.reference import Original
    from npuq.ir import Graph


Model = Annotated[
    Path,
    typer.Argument(help="The network: a file or folder of any framework in docs/frontends.md."),
]

ARGUMENTS = {"model": Model, "reference": Side}
"""The command-line argument of a command's `Source`, by the parameter's name."""


def _flag(name: str, annotation: Any, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _text(help_: str, metavar: str | None = None) -> Any:
    return Annotated[str | None, typer.Option(help=help_, metavar=metavar)]


FLAGS = (
    _flag("shape", Shapes),
    _flag("weights", _text("The weights, if they are a file of their own.", "FILE")),
    _flag("framework", _text("The framework, if the file's suffix is not enough.")),
    _flag("start_nodes", _text("TensorFlow nodes that become the inputs.", "A,B")),
    _flag("end_nodes", _text("TensorFlow nodes that become the outputs; a .pb file does not name them.", "A,B")),
    _flag("value", Annotated[list[str] | None, typer.Option(metavar="NAME:X", help="Fix an input; repeatable.")]),
    _flag("output_name", _text("Values that become the outputs.", "A,B")),
    _flag("signature", _text("The signature of a SavedModel, where it has several.", "NAME")),
    _flag("channels_first", Annotated[bool, typer.Option("--channels-first", help="Inputs [N,C,H,W].")], False),
)
"""The flags of every command that reads a network."""


@dataclass(frozen=True)
class Source:
    """A file or folder of any framework, and how to read it."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    channels_first: bool
    options: Options

    @property
    def name(self) -> str:
        return self.path.name

    def load(self) -> Graph:
        from npuq import api

        return api.load(self.path, self.shapes, channels_first=self.channels_first, **self.options)

    def side(self) -> Graph | Dump:
        """The network as `load` gives it, or the graph of an IR text or a program, or the dump of a folder."""
        from npuq.files.graphs import is_model, read_side
        from npuq.ir.errors import NpuqError

        if is_model(self.path):
            return self.load()
        given = {"shape": self.shapes, **self.options, "channels_first": self.channels_first}
        for name, value in given.items():
            if value:
                raise NpuqError(f"{self.path}: {name.replace('_', '-')} given, but it is not a model of a framework")
        return read_side(self.path)

    def original(self) -> Original:
        """The network in its own framework."""
        from npuq.comparison.verify_import import reference_of

        return reference_of(self.path, self.shapes, channels_first=self.channels_first, **self.options)


def reads_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, for its `Source` parameter in `ARGUMENTS`, an argument and the flags above."""
    known = inspect.signature(command, eval_str=True)
    (source,) = known.parameters.keys() & ARGUMENTS

    @functools.wraps(command)
    def run(**given: Any) -> None:
        from npuq.files.graphs import require_path

        shape, weights, framework, starts, ends, value, outputs, signature, channels_first = (
            given.pop(flag.name) for flag in FLAGS
        )
        options: Options = {
            "weights": weights,
            "framework": framework,
            "start_nodes": names_of(starts) or None,
            "end_nodes": names_of(ends) or None,
            "signature": signature,
            "values": values_of(value) or None,
            "outputs": names_of(outputs) or None,
        }
        given[source] = Source(require_path(given[source]), shapes_of(shape), channels_first, options)
        command(**given)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in known.parameters.values()]
    own = [one.replace(annotation=ARGUMENTS.get(one.name, one.annotation)) for one in own]
    wanted = sum(one.default is one.empty for one in own)
    parameters = [*own[:wanted], *FLAGS, *own[wanted:]]
    vars(run)["__signature__"] = known.replace(parameters=parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
