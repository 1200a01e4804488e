"""ONNX's own node tests: what the table does not excuse passes, and what it excuses does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest

from npuq.frontends.onnx import supported
from npuq.ir import one_line
from tests import zoo

from .onnx_node_tests import NodeTest, node_tests, run
from .onnx_table import reason, table

TABLE = Path(__file__).parents[2] / "docs" / "onnx-ops.md"


@pytest.mark.parametrize("operator", supported())
def test_operator(operator: str) -> None:
    check([test for test in node_tests() if test.operator == operator])


def test_operators_that_others_define() -> None:
    check([test for test in node_tests() if test.operator not in supported()])


def check(tests: list[NodeTest]) -> None:
    """Require the known outcome of each test."""
    told = {test.place: outcome(test) for test in tests}
    excused = {test.place: reason(test) for test in tests}
    assert {place: said for place, said in told.items() if said and not excused[place]} == {}
    assert [place for place, said in told.items() if not said and excused[place]] == []


def outcome(test: NodeTest) -> str | None:
    """Why a test fails; None where it passes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            run(test)
        except Exception as error:
            return f"{type(error).__name__}: {one_line(error)}"
    return None


def test_table_is_up_to_date() -> None:
    try:
        zoo.path("onnx_node_tests")
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    text = TABLE.read_text()
    if f" {onnx.__version__} " not in text:
        pytest.skip(f"the table is not of onnx {onnx.__version__}")
    assert text == table()
