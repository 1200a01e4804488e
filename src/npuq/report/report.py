"""The report as a value: its contents, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from npuq.backends.write_file import write_file
from npuq.comparison.measures import plain

from .contents import Contents
from .curve import CurvePoint


@dataclass(frozen=True)
class Report(Contents):
    """What a quantized network does on its target, measured on a few samples."""

    def with_curve(self, curve: Sequence[CurvePoint]) -> Report:
        """The report with a curve of mixed precision, such as `npuq.assign(...).points`."""
        return replace(self, curve=tuple(curve))

    def to_json(self) -> str:
        """The report without its details as JSON, an infinite SQNR as null: the same report gives the same text."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "details"}
        return json.dumps(plain(content), indent=2) + "\n"

    def to_html(self) -> str:
        """The report as one self-contained HTML page: the same report gives the same text."""
        # The page draws with matplotlib, which is slow to load.
        from .page import page

        return page(self)

    def save_html(self, path: str | Path) -> None:
        """Write the page, whole or not at all; raises `NpuqError` where it cannot be written."""
        write_file(path, self.to_html().encode())
