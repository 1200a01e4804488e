"""The command line: arguments, progress and tables around the public functions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from npuq.data import Samples
    from npuq.dump import Dump as DumpFolder
    from npuq.ir import Graph

FAULT = 1
USER_ERROR = 2
NOT_VERIFIED = 3
INTERRUPTED = 130

app = typer.Typer(
    name="npuq",
    help="Trained neural networks in, exact integer NPU programs out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    Path, typer.Argument(help="The network: a file of any framework in docs/frontends.md.", show_default=False)
]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="The weights, where they are a file of their own.")]
Framework = Annotated[str | None, typer.Option(help="The framework, where the file's suffix does not tell it.")]
Target = Annotated[str, typer.Option(help="A target's name (see `npuq targets`) or its .toml file.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME:N,C,H,W", help="The shape of an input that the model leaves open; repeatable."
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="DIR|FILE",
        help="A folder of images, .npy or .npz files, or one .npy or .npz file. Images are fitted to the input's size, "
        "their pixels 0 to 255; arrays hold samples along their first axis, .npz files by input name.",
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="Show every layer.")]
Out = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.", show_default=False)]
Numbers = Annotated[str | None, typer.Option(metavar="X,Y,Z", help="In the units of the data.", show_default=False)]
Names = Annotated[str | None, typer.Option(metavar="A,B", help="Only these.", show_default=False)]
Side = Annotated[Path, typer.Argument(help=".onnx, .ir, .npuq, or the folder of a dump", show_default=False)]
OptionalData = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR|FILE", help="As of quantize; without it, a dump's own.", show_default=False),
]
Dump = Annotated[
    Path | None,
    typer.Option(
        "--dump",
        metavar="DIR",
        help="Write every layer's output there, as .npy files in the folders float, fake-quant and integer.",
        show_default=False,
    ),
]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Trained neural networks in, exact integer NPU programs out."""


@app.command()
def quantize(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write to.")] = Path(
        "out"
    ),
    shape: Shapes = None,
    weights: Weights = None,
    framework: Framework = None,
    target: Target = "npu",
    method: Annotated[
        str | None,
        typer.Option(
            help="min_max, percentile, mse, kl or kl_v2; by default kl_v2, for 16 bits twice the range of min_max.",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="The width of activations: 8 or 16.", show_default="8")] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="The width of weights: 4, 8 or 16.", show_default="as activations")
    ] = None,
    lut_len: Annotated[
        int | None,
        typer.Option(
            help="The n of 16-bit functions' tables of 2^n + 1 entries, 8 to 12.", show_default="the least near enough"
        ),
    ] = None,
    percentile: Annotated[float, typer.Option(help="The share that the method of this name keeps.")] = 0.99999,
    effort: Annotated[int, typer.Option(help="0: calibration alone; 1: corrected biases; 2: equalized channels.")] = 1,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Widths and methods of single ops: see `npuq template`.", show_default=False),
    ] = None,
    mean: Numbers = None,
    std: Numbers = None,
    output_dequant: Annotated[
        bool, typer.Option("--output-dequant", help="Let the exact ONNX model give reals instead of integers.")
    ] = False,
    scales_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the scales there, as JSON.", show_default=False)
    ] = None,
    scales_in: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take scales from there instead of calibrating.", show_default=False),
    ] = None,
    dump: Dump = None,
    all_: All = False,
) -> None:
    """Calibrate a network and write its program, its exact and its QDQ-ONNX form, a report, the graph after each pass.

    With --mean and --std the program itself computes (x - mean) / std first: it takes what --data holds, raw pixels.
    """
    from npuq import api, show
    from npuq.assignment import read_template
    from npuq.backends.exact_onnx import to_exact_onnx
    from npuq.backends.qdq import to_onnx
    from npuq.backends.target import load_target
    from npuq.data import read_data
    from npuq.files import read_text, require_file, staged
    from npuq.ir import NpuqError
    from npuq.passes.pipeline import dump_to

    chosen = load_target(target)
    with show.steps() as steps, staged(output) as folder:
        steps.start(f"reading {model.name}")
        graph = api.load(require_file(model), _shapes(shape), weights=weights, framework=framework)
        text = None if template is None else read_text(template)
        precision = (
            read_template(text, graph, target=chosen, bits=bits, place=str(template)) if text is not None else None
        )
        samples = read_data(data, graph.inputs)
        steps.start("calibrating", len(samples))
        quantized = api.quantize(
            graph,
            samples,
            target=chosen,
            method=method,
            bits=bits,
            weight_bits=weight_bits,
            precision=precision,
            lut_len=lut_len,
            percentile=percentile,
            effort=effort,
            scales=scales_in,
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            observe=dump_to(folder / "steps"),
            progress=steps.done,
        )
        steps.start("writing the program")
        quantized.program.save(folder / f"{model.stem}.npuq")
        notes = list(quantized.notes)
        exact = f"{model.stem}_quantize.onnx"
        try:
            proto = to_exact_onnx(quantized.graph, interface="float" if output_dequant else "fixed")
        except NpuqError as error:
            # The program stands without it; one of an earlier run would be another program's.
            (output / exact).unlink(missing_ok=True)
            notes.append(f"no {exact}: {error}")
        else:
            (folder / exact).write_bytes(proto.SerializeToString(deterministic=True))
        (folder / f"{model.stem}_qdq.onnx").write_bytes(to_onnx(quantized.qdq).SerializeToString(deterministic=True))
        steps.start("measuring the layers", len(quantized.samples))
        report = quantized.measure(steps.done)
        (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
        report.save_html(folder / "report.html")
        if scales_out:
            quantized.save_scales(scales_out)
        if dump:
            steps.start("dumping the layers")
            quantized.dump(dump)
    screen = show.console()
    screen.print(show.layers(report, None if all_ else show.SHOWN))
    for note in notes:
        screen.print(f"note: {note}", markup=False)
    models = ", ".join(
        name for name in (f"{model.stem}.npuq", exact, f"{model.stem}_qdq.onnx") if (output / name).exists()
    )
    screen.print(f"\nwritten: {output}/{models}, report.html, report.json, steps/")


@app.command()
def template(
    model: Model,
    output: Out,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="As of quantize; initial and iohigh need none.", show_default=False),
    ] = None,
    strategy: Annotated[str, typer.Option(help="initial, iohigh, hawq, optimal or auto.")] = "initial",
    ratio: Annotated[float, typer.Option(help="The share of narrow ops, or of what they save.")] = 0.5,
    sqnr: Annotated[
        float | None, typer.Option(metavar="DB", help="What auto shall reach at the outputs.", show_default=False)
    ] = None,
    saving: Annotated[str, typer.Option(help="What the ratio counts: ops, cycles or bytes.")] = "ops",
    shape: Shapes = None,
    weights: Weights = None,
    framework: Framework = None,
    target: Target = "npu",
    method: Annotated[str, typer.Option(help="The method of narrow ops.")] = "kl_v2",
    mean: Numbers = None,
    std: Numbers = None,
) -> None:
    """Write a mixed-precision template: a width and a calibration method for every op, chosen by a strategy.

    `npuq quantize --template` takes it, edited or not.
    """
    from npuq import api, show
    from npuq.assignment import assign, write_template
    from npuq.backends.target import load_target
    from npuq.backends.whole_file import write_file
    from npuq.data import read_data
    from npuq.files import require_file

    chosen = load_target(target)
    with show.steps() as steps:
        steps.start(f"reading {model.name}")
        graph = api.load(require_file(model), _shapes(shape), weights=weights, framework=framework)
        found = assign(
            graph,
            None if data is None else read_data(data, graph.inputs),
            strategy=strategy,
            ratio=ratio,
            sqnr=sqnr,
            saving=saving,
            target=chosen,
            method=method,
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            progress=steps.at,
        )
        write_file(output, write_template(graph, found.precision, target=chosen).encode())
    show.console().print(show.assignment(found))


@app.command()
def convert(
    source: Model,
    output: Out,
    shape: Shapes = None,
    weights: Weights = None,
    framework: Framework = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="What to compare with; random numbers where it is left out.")
    ] = None,
) -> None:
    """Write a network of any framework as float ONNX (.onnx) or as the IR's text with its arrays beside it (.ir).

    It is compared with what the framework itself computes; where they differ nothing is written.
    """
    from npuq import agreement, api, files, frontends
    from npuq.data import read_data
    from npuq.ir.errors import NpuqError

    shapes = _shapes(shape)
    graph = api.load(files.require_file(source), shapes, weights=weights, framework=framework)
    samples = None if data is None else read_data(data, graph.inputs)
    try:
        judge = frontends.original(source, shapes, weights=weights, framework=framework)
    except NpuqError as error:
        typer.echo(f"not compared with the original: {error}")
    else:
        for difference in agreement.compare_with_original(graph, judge, samples):
            typer.echo(f"compared with {judge.framework}: {difference}")
    files.write_graph(output, graph)


@app.command()
def run(
    program: Annotated[Path, typer.Argument(help="An .npuq file.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--input", metavar="DIR|FILE", help="As --data of quantize.", show_default=False)
    ],
    output: Out,
    raw: Annotated[bool, typer.Option("--raw", help="Write the integers instead of the numbers they mean.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="First check the program's known answers.")] = False,
) -> None:
    """Execute a program on data: one output to an .npy file, several to an .npz file."""
    from npuq.backends.npu import Program
    from npuq.backends.whole_file import write_file
    from npuq.data import read_data
    from npuq.execute import pack, require_result_file, run_batches
    from npuq.files import require_file

    loaded = Program.load(require_file(program))
    require_result_file(output, tuple(loaded.graph.outputs))
    if verify:
        loaded.verify()
    batches = read_data(data, loaded.graph.inputs)
    write_file(output, pack(run_batches(loaded, batches, raw=raw), output))


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help=".onnx, .ir or .npuq", show_default=False)]) -> None:
    """Describe a model, a graph's text, or a program: the latter with every instruction and what it costs."""
    from npuq.describe import describe

    typer.echo(describe(file), nl=False)


@app.command()
def emit(
    graph: Annotated[
        Path,
        typer.Argument(
            help="A quantized graph: an .ir text, a QDQ .onnx file or an .npuq program.", show_default=False
        ),
    ],
    output: Out,
    target: Target = "npu",
    shape: Shapes = None,
    interface: Annotated[
        str,
        typer.Option(help="Of an .onnx file: integer, fixed (floats in, integers in float out) or float."),
    ] = "fixed",
) -> None:
    """Write the program of a graph that is quantized already; with -o FILE.onnx, an ONNX model of the same integers."""
    from npuq.backends.exact_onnx import as_interface, to_exact_onnx
    from npuq.backends.target import load_target
    from npuq.backends.whole_file import write_file
    from npuq.execute import program_of
    from npuq.files import read_graph

    wanted = as_interface(interface)
    program = program_of(read_graph(graph, _shapes(shape)), load_target(target))
    if output.suffix == ".onnx":
        write_file(output, to_exact_onnx(program.graph, interface=wanted).SerializeToString(deterministic=True))
    else:
        write_file(output, program.bytes)


@app.command()
def compare(
    reference: Side,
    tested: Side,
    data: OptionalData = None,
    shape: Shapes = None,
    mean: Numbers = None,
    std: Numbers = None,
    alone: Annotated[bool, typer.Option("--alone", help="Measure each layer by itself, too.")] = False,
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="index, mean-relative, cosine, rmse, sqnr, most-relative, most-absolute, above or below; "
            "alone-KEY for the layers alone.",
        ),
    ] = "mean-relative",
    op: Names = None,
    layer: Names = None,
    index: Annotated[str | None, typer.Option(metavar="0-7,17-", help="Places in the reference.")] = None,
    bands: Annotated[str, typer.Option(metavar="PERCENTS", help="The borders of relative errors.")] = "1,10,50,100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write all measures as .json, too.")
    ] = None,
    all_: All = False,
) -> None:
    """Measure how far each layer of the second network is from the first; layers belong together by name.

    A folder is a dump, as --dump writes it, or holds .npy files named like the layers. --mean and --std are those of
    quantize: the reference computes (x - mean) / std first, as the program does.
    """
    from npuq import selection, show
    from npuq.backends.whole_file import write_file
    from npuq.compare import compare as measure
    from npuq.compare import to_json
    from npuq.files import read_side

    one, other = (read_side(path, _shapes(shape)) for path in (reference, tested))
    one = _normalized(one, mean, std)
    borders = selection.bands(bands)
    ranges = selection.index_ranges(index) if index else ()
    with show.steps() as steps:
        samples = _samples(data, one, other)
        steps.start("comparing", len(samples) if samples else None)
        found = measure(one, other, samples, alone=alone, bands=borders, progress=steps.done)
    rows = selection.selected(found, sort=sort, ops=_list(op), layers=_list(layer), indexes=ranges)
    if output:
        write_file(output, to_json(rows).encode())
    show.console().print(show.differences(rows, borders, None if all_ else show.SHOWN))


@app.command()
def diverge(
    program: Side,
    other: Side,
    data: OptionalData = None,
    shape: Shapes = None,
) -> None:
    """Find the first instruction whose integers differ between two programs, or a program and a dump.

    The exit code is 3 where there is one.
    """
    from npuq import show
    from npuq.diverge import diverge as find
    from npuq.files import read_side

    one, two = (read_side(path, _shapes(shape)) for path in (program, other))
    with show.steps() as steps:
        samples = _samples(data, one, two)
        steps.start("comparing", len(samples) if samples else None)
        found = find(one, two, samples, progress=steps.done)
    typer.echo(str(found) if found else "all integers agree")
    if found:
        raise typer.Exit(NOT_VERIFIED)


@app.command()
def check(
    model: Model,
    target: Target = "npu",
    shape: Shapes = None,
    weights: Weights = None,
    framework: Framework = None,
) -> None:
    """List all problems of a model at once; where there is none, where each layer will run, and why not on the NPU."""
    from npuq import show
    from npuq.check import check as find

    found = find(model, target, _shapes(shape), weights=weights, framework=framework)
    show.console().print(show.verdict(found, model.name, target))
    if found.problems:
        raise typer.Exit(USER_ERROR)


@app.command()
def targets() -> None:
    """List the targets that come with npuq."""
    from npuq import show
    from npuq.backends.target import load_target
    from npuq.backends.target import targets as names

    show.console().print(show.targets(map(load_target, names())))


@app.command()
def passes() -> None:
    """List the passes with what each one does."""
    from npuq import show
    from npuq.describe import passes as known

    show.console().print(show.passes(known()))


def main() -> None:
    """Run the command line: exit code 0 where all is well, 2 for the user's errors, 3 where verification fails."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # XLA's own notes on the machine are not about the user's work.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    remember_compilations()
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        code, text = _told(error)
        if text:
            print(f"npuq: {text}", file=sys.stderr)
        sys.exit(code)


def remember_compilations() -> None:
    """Let JAX, once it is loaded, keep what it compiles in the user's cache folder, where there can be one."""
    from .cache import cache_folder, settings

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    for name, value in settings(folder).items():
        os.environ.setdefault(name.upper(), str(value))


def _told(error: BaseException) -> tuple[int, str]:
    """Exit code and line of text for an error."""
    if isinstance(error, TyperException):
        # Without a message it was a call for help, which has been given.
        said = " ".join(error.format_message().split())
        return USER_ERROR, said and f"{said.rstrip('.')}; npuq --help tells more"
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, "interrupted"
    # Only here, since they bring the whole compiler along.
    from npuq.backends.npu import VerificationError
    from npuq.ir.errors import NpuqError, one_line

    if isinstance(error, NpuqError):
        return NOT_VERIFIED if isinstance(error, VerificationError) else USER_ERROR, one_line(error)
    if isinstance(error, MemoryError | OSError):
        return USER_ERROR, f"{type(error).__name__}: {one_line(error)}"
    return FAULT, f"a fault of npuq itself, {type(error).__name__}: {one_line(error)}; --debug shows where"


def _shapes(given: list[str] | None) -> dict[str, tuple[int, ...]]:
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


def _list(given: str | None) -> list[str]:
    """Names from `a,b`."""
    return [name.strip() for name in given.split(",")] if given else []


def _samples(data: Path | None, *sides: Graph | DumpFolder) -> Samples | None:
    """The data of a comparison, where some are given, as the first graph takes them."""
    if data is None:
        return None
    from npuq.data import read_data
    from npuq.ir import Graph

    graph = next((side for side in sides if isinstance(side, Graph)), None)
    return read_data(data, graph.inputs) if graph else None


def _normalized(side: Graph | DumpFolder, mean: str | None, std: str | None) -> Graph | DumpFolder:
    """A reference that takes raw data where mean and standard deviation are given."""
    from npuq.ir import Graph
    from npuq.passes.normalize_input import normalize_input

    if not isinstance(side, Graph) or (mean is None and std is None):
        return side
    return normalize_input(mean=_numbers("--mean", mean) or (0.0,), std=_numbers("--std", std) or (1.0,))(side)


def _numbers(flag: str, given: str | None) -> tuple[float, ...] | None:
    """Numbers from `1.5,2,3`."""
    if given is None:
        return None
    from npuq.ir.errors import NpuqError

    try:
        return tuple(float(number) for number in given.split(","))
    except ValueError:
        raise NpuqError(f"{flag} {given}: numbers wanted, as in 123.7,116.3,103.5") from None
