"""The report: where each layer runs, at what scale, how far it is from float, and what it costs; as JSON and HTML."""

from __future__ import annotations

from .contents import Agreement, Details, Layer, Report, Tensor
from .curve import CurvePoint, curve_json, points, read_curve
from .make import make_report

__all__ = [
    "Agreement",
    "CurvePoint",
    "Details",
    "Layer",
    "Report",
    "Tensor",
    "curve_json",
    "make_report",
    "points",
    "read_curve",
]
