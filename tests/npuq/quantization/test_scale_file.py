"""Scales to JSON and back: the same program without calibration, and one line for each thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import npuq
from npuq.ir import Graph, NpuqError
from npuq.quantization.recipe import Recipe

from ..conftest import Files, Run

DATA = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(model: onnx.ModelProto) -> Graph:
    return npuq.load(model, {"x": (1, 3, 8, 8)})


@pytest.mark.parametrize(("target", "bits"), [("npu", 8), ("npu", 16), ("npu-asym", 8)])
def test_saved_scales_give_the_same_program_of_any_data(graph: Graph, target: str, bits: int, tmp_path: Path) -> None:
    """All of it but the known answers, and the biases that data correct."""
    first = npuq.quantize(graph, DATA, target=target, bits=bits, effort=0)
    first.save_scales(tmp_path / "scales.json")
    again = npuq.quantize(graph, DATA[:1] * 9, target=target, bits=bits, effort=0, scales=tmp_path / "scales.json")
    assert again.graph == first.graph
    assert again.notes == ()
    again.save_scales(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "scales.json").read_bytes()


def test_given_scales_alone_need_no_data(graph: Graph, tmp_path: Path) -> None:
    first = npuq.quantize(graph, DATA, effort=0)
    first.save_scales(tmp_path / "scales.json")
    again = npuq.quantize(graph, scales=tmp_path / "scales.json")
    assert (again.graph, again.recipe) == (first.graph, Recipe(effort=0, scales=tmp_path / "scales.json"))
    assert again.report.layers
    with pytest.raises(NpuqError, match=r"^small: no scale given for .*p.*; give them, or data to calibrate with"):
        npuq.quantize(graph, scales={"r": {"scale": 0.25}})


def test_the_file_tells_scale_zero_point_bits_and_range(graph: Graph, tmp_path: Path) -> None:
    quantized = npuq.quantize(graph, DATA, target="npu-asym")
    quantized.save_scales(tmp_path / "scales.json")
    content = json.loads((tmp_path / "scales.json").read_text())
    assert {key: content[key] for key in ("format", "version", "graph", "target")} == {
        "format": "npuq-scales",
        "version": 1,
        "graph": "small",
        "target": "npu-asym",
    }
    (entry,) = content["values"]["r"]
    low, high = ((end - entry["zero_point"]) * entry["scale"] for end in (-128, 127))
    assert entry == {
        "bits": 8,
        "scale": quantized.scales["r"],
        "zero_point": entry["zero_point"],
        "range": [low, high],
    }


def test_values_that_are_not_given_are_calibrated(graph: Graph) -> None:
    plain = npuq.quantize(graph, DATA, effort=0)
    some = npuq.quantize(graph, DATA, effort=0, scales={"r": {"scale": 0.25}})
    assert some.scales == {**plain.scales, "r": 0.25}
    (note,) = some.notes
    assert "values without given scales are calibrated: x" in note
    other = npuq.quantize(graph, DATA, effort=0, scales={"r": {"range": [-127.0, 12.0]}})
    assert other.scales["r"] == 1.0


def test_scales_of_another_graph_are_noted(graph: Graph, tmp_path: Path) -> None:
    quantized = npuq.quantize(graph, DATA)
    quantized.save_scales(tmp_path / "scales.json")
    content = json.loads((tmp_path / "scales.json").read_text())
    again = npuq.quantize(graph, DATA, scales={**content, "digest": "0", "graph": "large"})
    assert again.notes == ("the scales were saved for another graph, large",)


REFUSED: tuple[tuple[Mapping[str, Any], str], ...] = (
    ({"rr": {"scale": 1.0}}, "small quantizes no value 'rr'; similar names: r"),
    ({"r": {"scale": 0.0}}, "r: scale 0.0, a positive number wanted"),
    ({"r": {"scale": 1.0, "zero_point": 3}}, "r: zero point 3, 0 to 0 wanted"),
    ({"r": {"scale": 1.0, "bits": 7}}, "r: 7 bits; npu has 8, 16"),
    ({"r": {"scale": 1.0, "bits": 16}}, "r: a scale at 16 bits, but it is held at 8"),
    ({"r": {"scale": 1.0, "range": [-1, 1]}}, "r: scale 1.0 and range [-1, 1] contradict each other; leave out one"),
    ({"r": {"range": [1]}}, "r: range [1], two finite numbers wanted"),
    ({"r": {"range": [3, -3]}}, "r: range [3, -3] is empty; a lesser and a greater number wanted"),
    ({"r": {"range": [0.0, 0.0]}}, "r: range [0.0, 0.0] is empty; a lesser and a greater number wanted"),
    ({"r": []}, "r: the entry is empty; without the name the value is calibrated"),
    ({"r": [{"scale": 1.0}, {"scale": 2.0}]}, "r: two entries at 8 bits contradict each other; leave out one"),
    ({"r": {"step": 1.0}}, "r: an object with scale or range wanted, and of bits, scale, zero_point, range nothing"),
)


@pytest.mark.parametrize(("scales", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals_name_the_value(graph: Graph, scales: Mapping[str, Any], message: str) -> None:
    with pytest.raises(NpuqError) as caught:
        npuq.quantize(graph, DATA[:1], scales=scales)
    assert message in str(caught.value)


def test_a_refusal_names_the_file(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"format": "npuq-scales", "version": 1, "values": {"r": {"scale": 0.0}}}))
    with pytest.raises(NpuqError, match=rf"^{file}: r: scale 0\.0, a positive number wanted\n"):
        npuq.quantize(graph, DATA[:1], scales=file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("{}", "no scale file: its format is not 'npuq-scales'"),
        ('{"format": "npuq-scales", "version": 2}', "version 2, 1 wanted"),
    ],
)
def test_files_of_another_kind(graph: Graph, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(NpuqError) as caught:
        npuq.quantize(graph, DATA[:1], scales=tmp_path / "s.json")
    assert message in str(caught.value)


def test_the_command_line_writes_and_reads_them(run: Run, files: Files, tmp_path: Path) -> None:
    flags = ("quantize", files.model, "--data", files.data)
    assert run(*flags, "-o", tmp_path / "a", "--scales-out", tmp_path / "s.json").code == 0
    assert run(*flags, "-o", tmp_path / "b", "--scales-in", tmp_path / "s.json").code == 0
    assert (tmp_path / "a" / "small.npuq").read_bytes() == (tmp_path / "b" / "small.npuq").read_bytes()
    assert run("quantize", files.model, "-o", tmp_path / "c", "--scales-in", tmp_path / "s.json").code == 0
