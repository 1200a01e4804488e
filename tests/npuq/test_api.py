"""The public functions on the demo net: what they promise, and that nothing depends on luck."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.ir import DType, Graph, TensorType, blobs, parse, to_text, verify
from npuq.passes.pipeline import dump_to

FASHION = Path(__file__).parents[2] / "examples" / "fashion"


def images(name: str, count: int) -> np.ndarray:
    with np.load(FASHION / f"{name}.npz") as file:
        return np.asarray(file["image"][:count] / 255, np.float32)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return npuq.load(FASHION / "resnet.onnx")


@pytest.fixture(scope="module")
def quantized(graph: Graph) -> npuq.Quantized:
    return npuq.quantize(graph, images("calibration", 48))


def test_int8_keeps_the_answers(graph: Graph, quantized: npuq.Quantized) -> None:
    x = images("evaluation", 256)
    with np.load(FASHION / "evaluation.npz") as file:
        labels = file["label"][: len(x)]
    run = npuq.evaluate(graph)
    real = np.concatenate([np.asarray(run(sample[None])[0]) for sample in x])
    (integer,) = quantized.simulate(x)
    assert (real.argmax(1) == integer.argmax(1)).mean() >= 0.97
    assert (integer.argmax(1) == labels).mean() >= (real.argmax(1) == labels).mean() - 0.02


def test_a_saved_program_computes_the_same(quantized: npuq.Quantized, tmp_path: Path) -> None:
    path = tmp_path / "net.npuq"
    quantized.program.save(path)
    program = npuq.Program.load(path)
    assert program.graph == quantized.graph
    x = images("evaluation", 8)
    for raw in (False, True):
        np.testing.assert_array_equal(program.run(x, raw=raw)[0], quantized.simulate(x, raw=raw)[0])
    program.verify()


def test_raw_outputs_are_integers_of_the_output_scale(quantized: npuq.Quantized) -> None:
    x = images("evaluation", 3)
    (raw,), (real,) = quantized.simulate(x, raw=True), quantized.simulate(x)
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(real, raw.astype(np.float32) * np.float32(quantized.scales["logits"]))


def test_integers_are_taken_as_they_are(quantized: npuq.Quantized) -> None:
    x = images("evaluation", 2)
    integers = np.rint(x / quantized.scales["image"]).clip(-128, 127).astype(np.int8)
    np.testing.assert_array_equal(quantized.simulate(integers)[0], quantized.simulate(x)[0])


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_order_and_batches_change_nothing(graph: Graph, batch: int) -> None:
    """Not the scales, and not one byte of the program."""
    x = images("calibration", 16)
    wanted = npuq.quantize(graph, x)
    shuffled = x[np.random.default_rng(batch).permutation(len(x))]
    given = npuq.quantize(graph, (shuffled[at : at + batch] for at in range(0, len(x), batch)))
    assert given.scales == wanted.scales
    assert given.program.bytes == wanted.program.bytes


def test_the_levels_print_and_parse_back(quantized: npuq.Quantized) -> None:
    for level in (quantized.float_graph, quantized.qdq, quantized.graph):
        assert parse(to_text(level), blobs(level)) == verify(level)


def test_the_report_counts_every_layer(quantized: npuq.Quantized) -> None:
    report = quantized.report
    assert report.host_segments == ()
    assert {layer.op for layer in report.layers} >= {"relu", "conv", "reduce_mean", "matmul"}
    assert all(layer.sqnr_db is not None and layer.sqnr_db > 15 for layer in report.layers)
    assert report.macs == sum(layer.macs for layer in report.layers) > 1_000_000
    worst = report.worst_first
    assert [layer.sqnr_db for layer in worst] == sorted(layer.sqnr_db for layer in worst if layer.sqnr_db is not None)
    assert json.loads(report.to_json())["program_hash"] == quantized.program.hash


def test_steps_are_dumped_and_read_again(graph: Graph, tmp_path: Path) -> None:
    npuq.quantize(graph, images("calibration", 2), after_pass=dump_to(tmp_path))
    names = sorted(path.name for path in tmp_path.glob("*.ir"))
    assert names[-2:] == [f"{len(names) - 2:02d}-insert-fake-quant.ir", f"{len(names) - 1:02d}-lower-to-integer.ir"]
    found = {path.stem: np.load(path) for path in (tmp_path / "blobs").glob("*.npy")}
    for name in names:
        verify(parse((tmp_path / name).read_text(), found, source=name))


def test_mean_and_std_are_part_of_the_net(graph: Graph) -> None:
    """Pixels of 0 to 255 with mean 0 and std 255 give what pixels of 0 to 1 give."""
    x = images("calibration", 16)
    plain = npuq.quantize(graph, x)
    scaled = npuq.quantize(graph, x * 255, mean=(0.0,), std=(255.0,))
    assert scaled.scales["image"] == pytest.approx(255 * plain.scales["image"], rel=1e-6)
    given, wanted = scaled.simulate(x[:4] * 255)[0], plain.simulate(x[:4])[0]
    assert np.abs(given - wanted).max() <= 4 * plain.scales["logits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "there is no calibration method 'best'; there are min_max, percentile, mse, kl, kl_v2"),
        ({"target": None}, r"target: None, a name or a \.toml file wanted; known: npu, "),
        ({"bits": "8"}, "bits: '8', a whole number wanted"),
        ({"effort": "best"}, r"effort 'best'; one of minimal \(0\), standard \(1\), high \(2\) wanted"),
        ({"percentile": None}, "percentile: None, a number wanted"),
        ({"mean": "abc"}, "mean: 'abc', numbers wanted"),
        ({"std": [1.0, "x"]}, r"std: \(1\.0, 'x'\), numbers wanted"),
        ({"layer_threshold": "a"}, "layer_threshold: 'a', a number wanted"),
        ({"precision": [1]}, r"precision: \(1,\), Precision by the names of nodes wanted"),
        ({"precision": {"c": 16}}, "precision of c: 16, a Precision wanted"),
        ({"scales": 3}, "scales: 3, a file, or entries by the names of values wanted"),
        ({"target": "tpu"}, r"there is no target 'tpu'; known: npu, npu-asym, npu-tflite, or a \.toml file"),
    ],
)
def test_wrong_options_are_named(graph: Graph, options: dict[str, object], message: str) -> None:
    with pytest.raises(npuq.NpuqError, match=message):
        npuq.quantize(graph, images("calibration", 1), **options)  # type: ignore[arg-type]  # wrong on purpose


def test_options_without_effect_are_noted(graph: Graph) -> None:
    found = npuq.quantize(graph, images("calibration", 1), method="kl", percentile=0.9, lut_len=9, effort=0)
    assert found.notes == (
        "lut_len 9 has no effect: no value is held at 16 bits",
        "percentile 0.9 has no effect: no value is calibrated by this method",
    )
    used = {"method": "percentile", "percentile": 0.9, "lut_len": 9, "bits": 16}
    assert npuq.quantize(graph, images("calibration", 1), effort=0, **used).notes == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 1, 28, 27), np.float32), r"input image: shape \(2, 1, 28, 27\), \(1, 1, 28, 28\) wanted"),
        (np.full((1, 1, 28, 28), np.nan, np.float32), "input image: 784 numbers are NaN or infinite"),
        (np.zeros((1, 1, 28, 28), np.int32), "input image: int32 data, int8 integers or floats wanted"),
    ],
)
def test_wrong_inputs_are_named(quantized: npuq.Quantized, x: np.ndarray, message: str) -> None:
    with pytest.raises(npuq.NpuqError, match=message):
        quantized.simulate(x)


def test_graphs_without_quantizable_ops_still_have_a_program() -> None:
    """All on the host: said so, and executable."""
    from npuq.ir import Builder
    from npuq.ir.ops.reduce import LogSoftmax

    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 5)))
    net = builder.build({"y": builder.add(LogSoftmax(axis=1), x)})
    data = np.arange(5, dtype=np.float32)[None]
    q = npuq.quantize(net, data)
    assert len(q.report.host_segments) == 1
    np.testing.assert_allclose(q.simulate(data)[0], npuq.evaluate(net)(data)[0], rtol=1e-6)
