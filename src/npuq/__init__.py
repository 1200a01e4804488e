"""npuq: trained neural networks in, exact integer NPU programs out."""

from __future__ import annotations

__version__ = "0.1.0"
