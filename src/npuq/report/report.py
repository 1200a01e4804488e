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
        """The report with a curve of mixed precision, such as the `points` of what `npuq.assign` gives."""
        return replace(self, curve=tuple(curve))

    def to_json(self) -> str:
        """The report less its details as JSON, an infinite SQNR as null: the same report gives the same text."""
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "details"}
        return json.dumps(plain(kept), indent=2, sort_keys=False) + "\n"

    def to_html(self) -> str:
        """The report as one HTML page that needs nothing else: always the same text for the same report."""
        # The page draws with matplotlib, which is slow to load.
        from .page import page

        return page(self)

    def save_html(self, path: str | Path) -> None:
        """Write the page, whole or not at all; raises `NpuqError` where the disk refuses."""
        write_file(path, self.to_html().encode())
