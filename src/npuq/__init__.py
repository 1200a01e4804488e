"""npuq: trained neural networks in, exact integer NPU programs out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npuq.backends.npu import Program as Program
    from npuq.ir.errors import NpuqError as NpuqError
    from npuq.passes.pipeline import chain as chain
    from npuq.passes.pipeline import dump_to as dump_to
    from npuq.passes.precision import Precision as Precision
    from npuq.passes.target import load_target as load_target
    from npuq.passes.target import targets as targets

    from .api import evaluate as evaluate
    from .api import load as load
    from .api import quantize as quantize
    from .cache import enable_cache as enable_cache
    from .comparison.verify_import import verify_import as verify_import
    from .cost import cost_of as cost_of
    from .mixing.assign import Assignment as Assignment
    from .mixing.assign import assign as assign
    from .mixing.templates import read_template as read_template
    from .mixing.templates import write_template as write_template
    from .quantization.calibrated import Calibrated as Calibrated
    from .quantization.calibrated import Observer as Observer
    from .quantization.calibrated import calibrate as calibrate
    from .quantization.quantized import Quantized as Quantized
    from .quantization.recipe import Effort as Effort
    from .quantization.recipe import Recipe as Recipe

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
    "quantization.calibrated": ("Calibrated", "Observer", "calibrate"),
    "quantization.quantized": ("Quantized",),
    "quantization.recipe": ("Effort", "Recipe"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use, so that `import npuq` costs nothing."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'npuq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
