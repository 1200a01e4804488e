"""Other tools that fail are told in a line."""

import sys
from pathlib import Path

import pytest

from benchmarks.rivals import RIVALS, RivalError, run


def test_a_failing_tool_is_told_by_its_last_line() -> None:
    run(RIVALS[0], Path(sys.executable), "-c", "")
    with pytest.raises(RivalError, match=r"^NNCF: ValueError: no such op$"):
        run(RIVALS[0], Path(sys.executable), "-c", "raise ValueError('no such op')")


def test_scripts_are_there_and_packages_pinned() -> None:
    for rival in RIVALS:
        assert Path(__file__).parents[1].joinpath("benchmarks", rival.script).is_file()
        assert all("==" in package for package in rival.packages)
