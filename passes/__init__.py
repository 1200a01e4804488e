"""Graph-to-graph passes."""

from __future__ import annotations
