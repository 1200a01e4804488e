"""The report's page: whole, well-formed, alone, and the same every time."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest

import npuq
from npuq.cli import tables as show
from npuq.ir import Builder, NpuqError, parse_type
from npuq.ir.ops.activation import Gelu
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.shape import Reshape
from npuq.mixing.assign import Assignment
from npuq.mixing.mixing import Choice
from npuq.passes.precision import Precision
from npuq.report.curve import CurvePoint, curve_json, read_curve
from npuq.report.report import Agreement, Report

VOID = {"meta", "input", "br", "link", "img", "hr"}
REFERENCES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")


class Reader(HTMLParser):
    """The elements of a page, each closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.rows: list[str] = []
        self.in_row = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert len(given) == len(attributes), f"<{tag}> with an attribute twice"
        self.ids += [value for name, value in attributes if name == "id" and value]
        self.references += [value or "" for name, value in attributes if name in REFERENCES]
        assert not [name for name in given if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "th" and given.get("scope") == "row":
            self.in_row = True
            self.rows.append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.in_row = self.in_row and tag != "th"

    def handle_data(self, data: str) -> None:
        if self.in_row:
            self.rows[-1] += data.strip()


@pytest.fixture(scope="module")
def report(model: onnx.ModelProto) -> Report:
    data = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)
    return npuq.quantize(npuq.load(model), data).report


def test_the_page_is_well_formed_and_asks_for_nothing(report: Report) -> None:
    text = report.to_html()
    seen = Reader(text)
    assert not seen.open
    assert len(seen.ids) == len(set(seen.ids))
    assert {reference for reference in seen.references if not reference.startswith("#")} == set()
    assert {reference[1:] for reference in seen.references} <= set(seen.ids)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(h" not in text


def test_the_page_holds_every_layer_the_worst_first(report: Report) -> None:
    seen = Reader(report.to_html())
    assert seen.rows == [layer.name for layer in report.worst_first]
    assert len(seen.rows) == len(report.layers) > 3


def test_each_value_has_its_histogram_and_every_element_is_counted(report: Report) -> None:
    assert {tensor.name for tensor in report.details.tensors} >= {"x", "r", "p", "y"}
    text = report.to_html()
    for tensor in report.details.tensors:
        assert sum(tensor.counts) == round(tensor.elements * (1 - tensor.zeros))
        assert tensor.start <= tensor.minimum
        assert tensor.start + tensor.width * len(tensor.counts) >= tensor.maximum
        assert f"<h3>{tensor.name}</h3>" in text


def test_the_clipped_share_is_what_the_method_leaves_out(model: onnx.ModelProto) -> None:
    """Outputs keep their whole range; elements within half a step of an end still round to it."""
    data = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)
    found = npuq.quantize(npuq.load(model), data, method="percentile", percentile=0.9).report.details.tensors
    tensors = {tensor.name: tensor for tensor in found}
    assert tensors["y"].clipped == 0
    x = tensors["x"]
    assert x.clipped == pytest.approx(float((np.abs(data) > x.high + x.scale / 2).mean()), abs=0.002)
    assert 0.08 < x.clipped < 0.1


def test_the_verdict_has_the_numbers(report: Report) -> None:
    text = report.to_html()
    agreed = report.agreement["y"]
    assert f"the largest of 4 outputs is the same in {agreed.equal} of 8 samples" in text
    assert f"{report.output_sqnr_db:.1f} dB SQNR at the output" in text
    assert f"All {len(report.layers)} layers run on the NPU, with no repairs" in text


def test_a_repaired_scale_is_named_at_its_layer() -> None:
    """The difference of nearly equal numbers is far smaller than the steps of the product: its shift would not fit."""
    builder = Builder("net")
    x = builder.input("x", parse_type("f32[1,2]"))
    w = builder.constant(np.array([[1], [-1]], np.float32))
    graph = builder.build({"y": builder.add(MatMul(), x, w, name="y", loc="net.onnx:minus")})
    data = np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32) * np.array([1, 1.0001], np.float32)
    found = npuq.quantize(graph, data).report
    assert [place for place, note in found.repairs if note.startswith("scale raised from ")] == ["net.onnx:minus"]
    (layer,) = found.layers
    assert layer.notes == tuple(note for _, note in found.repairs)
    assert "with 1 repair." in found.to_html()
    assert found.to_html().count("scale raised from ") == 2


def test_a_table_is_noted_at_its_layer_and_is_no_repair() -> None:
    builder = Builder("net")
    x = builder.input("x", parse_type("f32[1,8]"))
    graph = builder.build({"y": builder.add(Gelu(), x, name="y", loc="net.onnx:gelu")})
    data = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    found = npuq.quantize(graph, data, bits=16).report
    ((note,),) = (layer.notes for layer in found.layers)
    assert re.fullmatch(r"a table of \d+ entries, off by at most [0-9.]+ steps", note)
    assert found.repairs == ()
    assert "with no repairs" in found.to_html()


def test_a_network_of_which_nothing_becomes_integers_has_a_report_that_says_so() -> None:
    builder = Builder("net")
    x = builder.input("x", parse_type("f64[1,8]"))
    graph = builder.build({"y": builder.add(Gelu(), x, name="y")})
    found = npuq.quantize(graph, np.ones((4, 8))).report
    assert found.notes == ("nothing in it became integers; what it computes runs in float on the host",)
    assert found.notes[0] in found.to_html()


def test_an_input_that_is_always_zero_is_noted() -> None:
    builder = Builder("net")
    x, z = (builder.input(name, parse_type("f32[1,8]")) for name in ("x", "z"))
    w = builder.constant(np.ones((8, 8), np.float32), "w")
    graph = builder.build({"y": builder.add(Add(), builder.add(MatMul(), x, w), builder.add(MatMul(), z, w))})
    data = {"x": np.ones((4, 8), np.float32), "z": np.zeros((4, 8), np.float32)}
    found = npuq.quantize(graph, data).report
    note = "input 'z' is zero in all 4 samples; calibrate with data that are typical"
    assert found.notes == (note,)
    assert note.replace("'", "&#39;") in found.to_html()
    assert note in json.loads(found.to_json())["notes"]


def test_a_ratio_next_to_one_has_no_sign(report: Report) -> None:
    shown = replace(report, outputs={"y": -0.001}, layers=(replace(report.layers[0], sqnr_db=-0.04),))
    text = show_text(shown)
    assert "far from float: 0.0 dB SQNR" in text
    assert "-0.0" not in text


def test_names_are_shown_as_they_are(report: Report) -> None:
    layer = replace(report.layers[0], name="[red]:smile:[/red]")
    assert "[red]:smile:[/red] " in show_text(replace(report, layers=(layer,), graph="[b]net[/b]"))
    assert "[b]net[/b] on npu" in show_text(replace(report, graph="[b]net[/b]"))


def show_text(report: Report) -> str:
    """What the terminal shows of a report."""
    screen = show.console()
    with screen.capture() as captured:
        screen.print(show.layers(report))
    return captured.get()


def test_a_layer_with_too_wide_a_range_is_named_with_what_helps() -> None:
    builder = Builder("net")
    x = builder.input("x", parse_type("f32[1,65536]"))
    w = builder.constant(np.ones((1, 1), np.float32) * 2, "w")
    tall = builder.add(Reshape(shape=(65536, 1)), x, name="tall")
    graph = builder.build({"y": builder.add(MatMul(), tall, w, name="y", loc="net.onnx:twice")})
    data = np.random.default_rng(0).normal(size=(2, 65536)).astype(np.float32)
    quantized = npuq.quantize(graph, data)
    assert quantized.report.wide_ranges == ()
    assert "Wide ranges" not in quantized.report.to_html()
    data[:, 0] = 100
    ((place, note),) = npuq.quantize(graph, data, method="min_max").report.wide_ranges
    assert place == "net.onnx:twice"
    assert re.fullmatch(
        r"alone it keeps 1[0-9]\.[0-9] dB: %tall reaches 100, 9[0-9] times its root mean square; "
        r'effort=2 \(equalized channels\) or 16 bits, precision=\{"y": Precision\(16\)\} helps',
        note,
    )
    again = npuq.quantize(graph, data, method="min_max", precision={"y": Precision(16)})
    assert again.report.wide_ranges == ()
    ((_, note),) = npuq.quantize(graph, data, method="min_max", effort=2).report.wide_ranges
    assert note.endswith('mean square; 16 bits, precision={"y": Precision(16)} helps')
    assert not npuq.quantize(graph, data, bits=16, weight_bits=8).could_equalize
    assert "Wide ranges" in npuq.quantize(graph, data, method="min_max", effort=2).report.to_html()


def test_the_curve_of_an_assignment(report: Report) -> None:
    narrow, wide = {"a": Precision(8)}, {"a": Precision(16)}
    choices = (Choice(0, 0.0, 0.0, wide, 0.0, None), Choice(1, 1.0, 1.0, narrow, 1e-2, 1e-3, 100))
    found = report.with_curve(Assignment("optimal", ("a",), choices[1], choices).points)
    assert found.curve == (CurvePoint(0.0, 20.0, 30.0, 100, True), CurvePoint(1.0, math.inf, None, None, False))
    text = found.to_html()
    Reader(text)
    assert "Mixed precision" in text
    assert "Mixed precision" not in report.to_html()


def test_a_curve_goes_through_a_file() -> None:
    curve = (CurvePoint(0.0, 20.0, None, 100, True), CurvePoint(1.0, None, 3.5, None, False))
    text = curve_json(curve)
    assert read_curve(text, "c.json") == curve
    for old, new, said in (
        ("npuq-curve", "curve", "no curve: npuq-curve of version 1 wanted, as npuq template --curve writes it"),
        ('"wide": 0.0', '"wide": "0"', "damaged: points with wide, predicted_db, measured_db, cycles, chosen wanted"),
        ("true", "1", "damaged: .*"),
        ("{", "[", "no curve: .*"),
    ):
        with pytest.raises(NpuqError, match=rf"^c\.json: {said}$"):
            read_curve(text.replace(old, new), "c.json")


def test_names_are_escaped(report: Report) -> None:
    layers = tuple(replace(layer, name=f"<script>{layer.name}", notes=("a & b",)) for layer in report.layers)
    text = replace(
        report, layers=layers, repairs=(("<b>", "</ul>"),), curve=(CurvePoint(0.5, None, 30.0, 1, True),)
    ).to_html()
    Reader(text)
    assert text.count("<script>") == 1
    assert "a &amp; b" in text


def test_the_page_of_what_was_not_measured(report: Report) -> None:
    text = replace(report, layers=(), outputs={"y": None}, agreement={}).to_html()
    Reader(text)
    assert "No output was measured" in text
    exact = replace(report, outputs={"y": math.inf}, agreement={"y": Agreement(1, 1, 4)}).to_html()
    assert (
        "The outputs equal the float network&#39;s, and the largest of 4 outputs is the same in 1 of 1 sample." in exact
    )


def test_the_same_report_is_the_same_page(report: Report, tmp_path: Path) -> None:
    report.save_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.to_html()


def test_own_errors_are_those_of_one_layer(report: Report) -> None:
    """The first layer has no errors before it: alone and accumulated are the same."""
    first = report.layers[0]
    assert first.own_sqnr_db == first.sqnr_db
    assert all(layer.own_sqnr_db is not None and layer.own_sqnr_db > 20 for layer in report.layers)
