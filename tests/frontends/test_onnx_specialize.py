"""ONNX models for one use: inputs fixed to values, and other outputs than their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import npuq
from npuq.cli.arguments import values_of
from npuq.frontends import check, load
from npuq.ir import NpuqError, evaluate
from tests import zoo

from .test_onnx_load import model

CHOICE = """choice (float[N,4] x, int64 rate, float[1] gain) => (float[N,4] y, float[N,4] z)
<int64 fast = {16000}> {
    is_fast = Equal (rate, fast)
    a = If (is_fast) <
        then_branch = then_graph () => (float[N,4] t) { t = Neg (x) },
        else_branch = else_graph () => (float[N,4] e) { e = Unknown (x) }
    >
    y = Mul (a, gain)
    z = mine.Unknown (y)
}"""


def test_a_fixed_input_decides_a_branch_and_an_inner_value_ends_the_graph() -> None:
    source = model(CHOICE)
    before = source.SerializeToString()
    graph = load(source, {"x": (2, 4)}, values={"rate": 16000, "gain": 3}, outputs=["a", "y"])
    assert source.SerializeToString() == before
    assert list(graph.inputs) == ["x"]
    assert list(graph.outputs) == ["a", "y"]
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    for given, wanted in zip(evaluate(graph)(x), (-x, -3 * x), strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_an_input_that_decides_a_branch_is_asked_for() -> None:
    with pytest.raises(NpuqError) as caught:
        load(model(CHOICE), outputs=["y"])
    assert str(caught.value) == (
        "choice:a: If: the inputs decide which branch runs, and one is not translated (choice:e: Unknown: no "
        "converter for 'Unknown', which is no ONNX operator); fix 'rate', for example: --value rate:16000, or "
        "values={'rate': 16000}"
    )
    other = CHOICE.replace("Equal (rate, fast)", "GreaterOrEqual (rate, fast)")
    assert [problem.operator for problem in check(model(other))] == ["If", "Unknown"]


def test_what_no_output_needs_is_no_problem() -> None:
    assert [problem.operator for problem in check(model(CHOICE), values={"rate": 16000})] == ["Unknown"]
    assert check(model(CHOICE), values={"rate": 16000}, outputs=["y"]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": {"rat": 1}}, "choice: there is no input 'rat'; similar names: rate"),
        ({"values": {"rate": 1.5}}, "choice: input rate: i64[] does not hold 1.5"),
        ({"values": {"rate": [1, 2]}}, "choice: input rate: i64[] cannot be fixed to a value of shape (2,)"),
        (
            {"outputs": ["rate"]},
            "choice: 'rate' is an input, not a computed value; similar names: is_fast, a, y",
        ),
        ({"outputs": ["yy"]}, "choice: there is no value 'yy'; similar names: y"),
    ],
    ids=str,
)
def test_names_and_values_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpuqError, match="^" + re.escape(message) + "$"):
        load(model(CHOICE), **options)


def test_the_command_line_reads_values() -> None:
    assert values_of(["rate:16000", "a:b:1.5,2"]) == {"rate": 16000.0, "a:b": [1.5, 2.0]}
    with pytest.raises(NpuqError, match=r"^--value rate: fast: numbers wanted"):
        values_of(["rate:fast"])


@pytest.mark.zoo
def test_a_detector_for_two_rates_becomes_that_for_one() -> None:
    import onnxruntime

    file = zoo.path("silero_vad_rates")
    shapes = {"input": (1, 576), "state": (2, 1, 128)}
    with pytest.raises(NpuqError, match=r"; fix 'sr', for example: --value sr:16000, or values=\{'sr': 16000\}$"):
        npuq.load(file, shapes=shapes)
    graph = npuq.load(file, shapes=shapes, values={"sr": 16000})
    assert {name: type_.shape for name, type_ in graph.inputs.items()} == shapes
    random = np.random.default_rng(0)
    feeds = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    reference = onnxruntime.InferenceSession(file).run(None, {**feeds, "sr": np.asarray(16000)})
    for given, wanted in zip(evaluate(graph)(*feeds.values()), reference, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_a_file_is_compared_as_it_is_read(tmp_path: Path) -> None:
    onnx.save(model(CHOICE.replace("Unknown (x)", "Abs (x)")), tmp_path / "choice.onnx")
    options: dict[str, Any] = {"values": {"rate": 8000, "gain": [2.0]}, "outputs": ["y"]}
    from npuq.frontends import original

    reference = original(tmp_path / "choice.onnx", {"x": (1, 4)}, **options)
    x = np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)
    np.testing.assert_array_equal(reference.run({"x": x})["y"], 2 * np.abs(x))
