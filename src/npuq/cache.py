"""XLA's persistent cache of compiled functions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MOST_BYTES = 1 << 30
"""The cache's limit; the entries used longest ago are deleted first."""


def cache_folder() -> Path:
    """`npuq/xla` in the user's cache folder, $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npuq" / "xla"


def enable_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled functions in `folder`, or in `cache_folder()`, for the rest of this process; returns the folder.

    The setting is JAX's and holds for everything that this process compiles from now on. The `npuq` command sets it.
    """
    import jax

    chosen = Path(folder) if folder is not None else cache_folder()
    for name, value in settings(chosen).items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]  # untyped in JAX
    return chosen


def settings(folder: Path) -> Mapping[str, str | int | float]:
    """JAX's configuration for a cache that keeps every function, even one that is quick to compile."""
    return {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": MOST_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
