"""What integer graphs become: targets as data, the NPU program, ONNX files."""

from __future__ import annotations
