"""The arguments that commands share, and the readers of their texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from npuq.comparison.dump import Dump as DumpFolder
    from npuq.files.data import Samples
    from npuq.ir import Graph

FAULT = 1
USER_ERROR = 2
NOT_VERIFIED = 3
INTERRUPTED = 130

Target = Annotated[str, typer.Option(help="A target's name (see `npuq targets`) or its .toml file.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME:N,C,H,W", help="An input's shape, if the model leaves it open; repeatable."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE",
        help="A folder of images, .npy or .npz files, or one .npy or .npz file. Images are fitted to the input's size, "
        "their pixels 0 to 255; arrays hold samples along their first axis, .npz files by input name.",
    ),
]
OptionalData = Annotated[
    Path | None, typer.Option("--data", metavar="DIR|FILE", help="As --data of quantize; by default a dump's own.")
]
All = Annotated[bool, typer.Option("--all", help="Show every layer.")]
Out = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
Numbers = Annotated[str | None, typer.Option(metavar="X,Y,Z", help="In the units of the data.")]
Names = Annotated[str | None, typer.Option(metavar="A,B", help="Show only these.")]
Side = Annotated[Path, typer.Argument(help="A model of any framework, .ir, .npuq, or the folder of a dump.")]
IntegerSide = Annotated[Path, typer.Argument(help="A program, an integer graph (.ir), or the folder of a dump.")]
Dump = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write all values as .npy: folders float, fake-quant, integer.")
]

LutLen = Annotated[
    int | None,
    typer.Option(help="The n of 16-bit tables of 2^n + 1 entries, 8 to 12.", show_default="the least near enough"),
]
Opset = Annotated[int, typer.Option(help="The opset of the QDQ model, 13 or later; 16 and 4 bits want 21.")]
Percentile = Annotated[float, typer.Option(help="The share that the method of this name keeps.")]
Effort = Annotated[
    str,
    typer.Option(
        help="minimal (0): calibration alone; standard (1): corrected biases; high (2): equalized channels and"
        " learned 4-bit weights."
    ),
]
Recipe = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A .toml or .json file of options; flags replace them.")
]
Curve = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A template's curve, as JSON: template writes it, quantize draws it."),
]


def shapes_of(given: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes from `name:1,3,224,224`."""
    from npuq.ir.errors import NpuqError

    shapes = {}
    for text in given or ():
        name, colon, sizes = text.rpartition(":")
        numbers = sizes.split(",")
        if not colon or not all(number.strip().isdecimal() for number in numbers):
            raise NpuqError(f"--shape {text}: a name and sizes wanted, as in x:1,3,224,224")
        shapes[name] = tuple(map(int, numbers))
    return shapes


def values_of(given: list[str] | None) -> dict[str, float | list[float]]:
    """Values of inputs from `sr:16000` or `size:1,2`."""
    values: dict[str, float | list[float]] = {}
    for text in given or ():
        name, colon, value = text.rpartition(":")
        if not colon:
            from npuq.ir.errors import NpuqError

            raise NpuqError(f"--value {text}: a name and a number wanted, as in sr:16000")
        numbers = list(numbers_of(f"--value {name}:", value) or ())
        values[name] = numbers if len(numbers) > 1 else numbers[0]
    return values


def names_of(given: str | None) -> list[str]:
    """Names from `a,b`."""
    return [name.strip() for name in given.split(",")] if given else []


def numbers_of(flag: str, given: str | None) -> tuple[float, ...] | None:
    """Numbers from `1.5,2,3`."""
    if given is None:
        return None
    from npuq.ir.errors import NpuqError

    try:
        return tuple(float(number) for number in given.split(","))
    except ValueError:
        raise NpuqError(f"{flag} {given}: numbers wanted, as in 123.7,116.3,103.5") from None


def samples_of(data: Path | None, *sides: Graph | DumpFolder) -> Samples | None:
    """The data of a comparison, if given, as batches for the first graph."""
    from npuq.files.data import read_data
    from npuq.ir import Graph

    graph = next((side for side in sides if isinstance(side, Graph)), None)
    return read_data(data, graph.inputs) if data and graph else None


def normalized_as(side: Graph | DumpFolder, mean: str | None, std: str | None) -> Graph | DumpFolder:
    """A reference that takes raw data if mean or standard deviation is given."""
    from npuq.ir import Graph
    from npuq.passes.canonical.normalize_input import normalize_input

    if not isinstance(side, Graph) or (mean is None and std is None):
        return side
    return normalize_input(mean=numbers_of("--mean", mean) or (0.0,), std=numbers_of("--std", std) or (1.0,))(side)
