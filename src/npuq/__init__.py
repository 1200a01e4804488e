"""npuq: trained neural networks in, exact integer NPU programs out.

The names below are loaded on first use, so that `import npuq` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agreement import verify_import
    from .api import evaluate, load, quantize
    from .assignment import Assignment, assign, read_template, write_template
    from .backends.npu import Program
    from .backends.target import load_target, targets
    from .cache import enable_cache
    from .ir.errors import NpuqError
    from .passes.pipeline import chain, dump_to
    from .passes.precision import Precision

__version__ = "0.1.0"

_HOMES = {
    "Assignment": "assignment",
    "NpuqError": "ir.errors",
    "Precision": "passes.precision",
    "Program": "backends.npu",
    "Quantized": "quantized",
    "assign": "assignment",
    "chain": "passes.pipeline",
    "dump_to": "passes.pipeline",
    "enable_cache": "cache",
    "evaluate": "api",
    "load": "api",
    "load_target": "backends.target",
    "quantize": "api",
    "read_template": "assignment",
    "targets": "backends.target",
    "verify_import": "agreement",
    "write_template": "assignment",
}

__all__ = [
    "Assignment",
    "NpuqError",
    "Precision",
    "Program",
    "Quantized",
    "assign",
    "chain",
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
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'npuq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
