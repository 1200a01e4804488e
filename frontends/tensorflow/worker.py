"""The program of the child process.

It reads pickled (module, function, arguments) and answers with pickled (None, result) or (class of error, text).
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import sys
import traceback
import warnings
from typing import IO, Any

from npuq.ir import NpuqError, one_line


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until their stream ends."""
    while True:
        try:
            module, name, arguments = pickle.load(requests)
        except EOFError:
            return
        answer: tuple[type[Exception] | None, Any]
        try:
            answer = (None, getattr(importlib.import_module(module), name)(*arguments))
        except NpuqError as error:
            answer = (NpuqError, one_line(error))
        except Exception:
            answer = (RuntimeError, traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Serve on the pipe; redirect all other output to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
