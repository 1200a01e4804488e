"""Atomic file writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from npuq.ir.errors import NpuqError


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary file beside it, which is then moved."""
    path = Path(path)
    temporary = None
    try:
        if path.exists() and not path.is_file():
            # A device or a pipe must not be replaced.
            path.write_bytes(content)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode())
        temporary.replace(path)
    except OSError as error:
        raise NpuqError(f"{path}: not written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode() -> int:
    """The mode that a new file gets; the process's mask can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
