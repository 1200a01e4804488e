"""A child process for libraries that the user's process must not import."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from typing import IO, Any, TypeVar

from npuq.ir import NpuqError

T = TypeVar("T")

QUIET = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
"""Settings for the same results on every machine, without log output."""


class Child:
    """A process that calls functions of this package by name; it ends with the object."""

    def __init__(self) -> None:
        environment = os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
        )
        self.close = weakref.finalize(self, _end, self.process, self.errors)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the child; raise its `NpuqError` here, and one for a crash."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump((function.__module__, function.__name__, arguments), self.process.stdin)
            self.process.stdin.flush()
            kind, result = pickle.load(self.process.stdout)
        except (OSError, EOFError):
            code = self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().decode(errors="replace").strip().splitlines() or ["no output"]
            raise NpuqError(f"TensorFlow's process ended with code {code}: {lines[-1][:300]}") from None
        if kind is not None:
            raise kind(result)
        value: T = result
        return value

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for file in (process.stdin, process.stdout, errors):
        assert file is not None
        # Closing flushes requests that a dead process does not read.
        with contextlib.suppress(OSError):
            file.close()
