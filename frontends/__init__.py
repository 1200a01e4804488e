"""Foreign models to float graphs, one folder per format."""

from __future__ import annotations
