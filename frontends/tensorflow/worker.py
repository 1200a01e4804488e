"""The program of the second process.

It reads pickled (module, function, arguments) from its input and answers with pickled (None, result), or a class of
error and its text.
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
    """Answer until there are no more requests."""
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
    """Keep the pipe for answers alone; whatever else is printed goes where errors go."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
