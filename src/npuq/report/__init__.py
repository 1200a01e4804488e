"""The report: where each layer runs, at what scale, how far it is from float, and what it costs; as JSON and HTML."""

from __future__ import annotations

from .contents import Agreement, Details, Layer, Tensor
from .curve import CurvePoint, curve_json, read_curve
from .make import make_report
from .report import Report

__all__ = [
    "Agreement",
    "CurvePoint",
    "Details",
    "Layer",
    "Report",
    "Tensor",
    "curve_json",
    "make_report",
    "read_curve",
]
