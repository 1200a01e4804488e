"""The NPU program: what an integer graph becomes for the machine, in one self-contained file."""

from __future__ import annotations

from .contents import KnownAnswer
from .program import Program, VerificationError

__all__ = ["KnownAnswer", "Program", "VerificationError"]
