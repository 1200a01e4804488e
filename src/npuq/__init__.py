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
    from .mixing.assign import Assignment, assign
    from .mixing.templates import read_template, write_template
    from .quantization.calibrated import Calibrated, calibrate
    from .quantization.observer import Observer
    from .quantization.quantized import Quantized
    from .quantization.recipe import Effort, Recipe

__version__ = "0.1.0"

_MODULES = {
    "api": ("evaluate", "load", "quantize"),
    "backends.npu": ("Program",),
    "cache": ("enable_cache",),
    "comparison.verify_import": ("verify_import",),
    "cost": ("cost_of",),
    "ir.errors": ("NpuqError",),
    "mixing.assign": ("Assignment", "assign"),
    "mixing.templates": ("read_template", "write_template"),
    "passes.pipeline": ("chain", "dump_to"),
    "passes.precision": ("Precision",),
    "passes.target": ("load_target", "targets"),
    "quantization.calibrated": ("Calibrated", "calibrate"),
    "quantization.observer": ("Observer",),
    "quantization.quantized": ("Quantized",),
    "quantization.recipe": ("Effort", "Recipe"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

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
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'npuq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
