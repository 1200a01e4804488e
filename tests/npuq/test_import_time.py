"""Nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("jax", "numpy", "onnx", "scipy", "PIL", "flatbuffers", "matplotlib", "jinja2")


def imported(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after `code`."""
    report = "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    guarded = f"import sys\ntry:\n    {code}\nfinally:\n    {report}"
    done = subprocess.run([sys.executable, "-c", guarded], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import npuq; npuq.__version__; dir(npuq)",
        "import npuq.cli",
        "import sys, npuq.cli; sys.argv = ['npuq', '--help']; npuq.cli.main()",
        "import sys, npuq.cli; sys.argv = ['npuq', 'quantize', '--help']; npuq.cli.main()",
    ],
)
def test_import_and_help_are_light(code: str) -> None:
    assert imported(code).isdisjoint(HEAVY)


def test_public_names_are_there() -> None:
    import npuq

    for name in npuq.__all__:
        assert getattr(npuq, name) is not None
    with pytest.raises(AttributeError, match="module 'npuq' has no attribute 'nonsense'"):
        _ = npuq.nonsense
