"""npuq: trained neural networks in, exact integer NPU programs out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npuq.backends.npu import Program
    from npuq.ir.errors import NpuqError
    from npuq.passes.pipeline import chain, dump_to
    from npuq.passes.precision import Precision
    from npuq.passes.target import load_target, targets

    from .api import evaluate, load, quantize
    from .cache import enable_cache
    from .comparison.verify_import import verify_import
    from .cost import cost_of
    from .mixing.assign import Assignment, assign, read_template, write_template
    from .quantization.calibrated import Calibrated, calibrate
    from .quantization.observer import Observer
    from .quantization.quantized import Quantized
    from .quantization.recipe import Effort, Recipe

__version__ = "0.1.0"

_HOMES = {
    "Assignment": "mixing.assign",
    "Calibrated": "quantization.calibrated",
    "Effort": "quantization.recipe",
    "NpuqError": "ir.errors",
    "Observer": "quantization.observer",
    "Precision": "passes.precision",
    "Program": "backends.npu",
    "Quantized": "quantization.quantized",
    "Recipe": "quantization.recipe",
    "assign": "mixing.assign",
    "calibrate": "quantization.calibrated",
    "chain": "passes.pipeline",
    "cost_of": "cost",
    "dump_to": "passes.pipeline",
    "enable_cache": "cache",
    "evaluate": "api",
    "load": "api",
    "load_target": "passes.target",
    "quantize": "api",
    "read_template": "mixing.assign",
    "targets": "passes.target",
    "verify_import": "comparison.verify_import",
    "write_template": "mixing.assign",
}

__all__ = [
    "Assignment",
    "Calibrated",
    "Effort",
    "NpuqError",
    "Observer",
    "Precision",
    "Program",
    "Quantized",
    "Recipe",
    "assign",
    "calibrate",
    "chain",
    "cost_of",
    "dump_to",
    "enable_cache",
    "evaluate",
    "load",
    "load_target",
    "quantize",
    "read_template",
    "targets",
    "verify_import",
    "write_template",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use, so that `import npuq` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'npuq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
