"""The report in a real browser: silent, alone, readable on a phone, and its table sorts and searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import npuq
from npuq.report.report import Report
from tests import zoo

from .browser import Page, browser

SPOKEN = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


@pytest.fixture(scope="module")
def report(model: onnx.ModelProto) -> Report:
    data = np.random.default_rng(5).normal(size=(12, 3, 8, 8)).astype(np.float32)
    return npuq.quantize(npuq.load(model), data).report


@pytest.fixture(scope="module")
def file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.save_html(path)
    return path


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    try:
        with browser() as opened:
            yield opened
    except zoo.UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 900, False), (390, 844, True)])
def test_the_page_is_silent_and_asks_for_nothing(page: Page, file: Path, width: int, height: int, dark: bool) -> None:
    page.open(file, width, height, dark=dark)
    use(page)
    assert page.seen(*SPOKEN) == []
    assert [event["request"]["url"] for event in page.seen("Network.requestWillBeSent")] == [file.as_uri()]
    assert page.value("document.documentElement.scrollWidth") == width
    assert page.value("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 22, 26)" if dark else "rgb(253, 253, 251)"
    )


def test_a_page_that_speaks_and_asks_is_found_out(page: Page, tmp_path: Path) -> None:
    """The checks above can fail."""
    (tmp_path / "bad.html").write_text("<img src='x.png'><script>console.log('a'); throw new Error('b')</script>")
    page.open(tmp_path / "bad.html", 400, 400)
    assert len(page.seen(*SPOKEN)) >= 2
    assert len(page.seen("Network.requestWillBeSent")) == 2


def use(page: Page) -> None:
    """Everything that can be used is used."""
    page.value("document.querySelectorAll('thead button').forEach(button => { button.click(); button.click(); })")
    page.value("document.querySelectorAll('nav a').forEach(link => link.click())")
    search(page, "relu")
    page.value("document.querySelectorAll('svg').forEach(svg => svg.dispatchEvent(new PointerEvent('pointermove')))")


def search(page: Page, text: str) -> None:
    found = "document.getElementById('find')"
    page.value(f"{found}.value = '{text}'; {found}.dispatchEvent(new Event('input'))")


def test_the_table_sorts_and_searches(page: Page, file: Path, report: Report) -> None:
    page.open(file, 1280, 900)
    names = "[...document.querySelectorAll('#table tbody tr:not([hidden]) th')].map(cell => cell.textContent)"
    assert page.value(names) == [layer.name for layer in report.worst_first]
    click = "[...document.querySelectorAll('thead button')].find(one => one.textContent === '{}').click()"
    page.value(click.format("Cycles"))
    assert page.value(names) == [layer.name for layer in sorted(report.worst_first, key=lambda layer: layer.cycles)]
    page.value(click.format("Cycles"))
    cycles = {layer.name: layer.cycles for layer in report.layers}
    assert [cycles[name] for name in page.value(names)] == sorted(cycles.values(), reverse=True)
    page.value(click.format("Layer"))
    assert page.value(names) == sorted(cycles)
    search(page, "matmul")
    assert page.value(names) == [layer.name for layer in report.layers if layer.op == "matmul"]
    assert page.value("document.getElementById('found').textContent") == "1 layer"


def test_a_pointer_over_a_picture_names_the_layer(page: Page, file: Path, report: Report) -> None:
    page.open(file, 1280, 900)
    box = page.value("(b => [b.left, b.top, b.width])(document.querySelector('#errors svg').getBoundingClientRect())")
    measured = [layer for layer in report.layers if layer.sqnr_db is not None]
    for index in (0, len(measured) - 1):
        part = 0.062 + (0.985 - 0.062) * (index + 0.5) / len(measured)
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + part * box[2], y=box[1] + 40)
        text = page.value("document.querySelector('#errors .readout').textContent")
        assert text.startswith(f"{measured[index].name} ({measured[index].op}): ")


def pictures() -> Report:
    """Two pictures of noise through mobilenet_v2, measured on one."""
    graph = npuq.load(zoo.path("mobilenet_v2"), {"x": (1, 3, 224, 224)})
    data = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    found = npuq.quantize(graph, data, effort=0)
    return replace(found, samples=found.samples[:1]).report


def sentences() -> Report:
    """Two rows of tokens through minilm; not measured, which would take a minute."""
    shape, rng = (2, 128), np.random.default_rng(0)
    data = {
        "input_ids": rng.integers(1000, 30000, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    graph = npuq.load(zoo.path("minilm"), dict.fromkeys(data, (1, 128)))
    return replace(npuq.quantize(graph, data, effort=0), samples=()).report


@pytest.mark.zoo
@pytest.mark.parametrize("network", [pictures, sentences])
def test_the_page_of_a_real_network(page: Page, tmp_path: Path, network: Callable[[], Report]) -> None:
    try:
        report = network()
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    report.save_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    for width, height in ((1280, 900), (390, 844)):
        page.open(tmp_path / "report.html", width, height)
        use(page)
        assert page.seen(*SPOKEN) == []
        assert len(page.seen("Network.requestWillBeSent")) == 1
        assert page.value("document.documentElement.scrollWidth") == width
    assert page.value("document.querySelectorAll('#table tbody tr').length") == len(report.layers) > 50
    assert page.value("document.querySelectorAll('.range svg').length") == len(report.details.tensors) > 50
