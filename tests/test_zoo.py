"""The zoo trusts neither downloads nor pickles."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests import zoo
from tests.zoo import torch_weights


def legacy_file(path: Path, weights: object, keys: list[str], data: bytes) -> Path:
    """Write a file in PyTorch's old format around a ready-made pickle."""
    head = pickle.dumps(torch_weights.MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps(None, 2)
    body = weights if isinstance(weights, bytes) else pickle.dumps(weights, 2)
    path.write_bytes(head + body + pickle.dumps(keys, 2) + data)
    return path


# {"w": a transposed 2x3 view, from element 1 on, of storage "7"}
TRANSPOSED = (
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x007X\x03\x00\x00\x00cpuK\x07NtQ"
    b"K\x01K\x02K\x03\x86K\x01K\x02\x86\x89NtRs."
)


def test_weights_follow_offset_and_strides(tmp_path: Path) -> None:
    data = (7).to_bytes(8, "little") + np.arange(7, dtype="<f4").tobytes()
    weights = torch_weights.read_weights(legacy_file(tmp_path / "w.pth", TRANSPOSED, ["7"], data))
    np.testing.assert_array_equal(weights["w"], np.array([[1, 3, 5], [2, 4, 6]], np.float32))


def test_weights_refuse_other_globals(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "evil.pth", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", [], b"")
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system is not a part of plain weights"):
        torch_weights.read_weights(file)


def test_checksum_names_file_wanted_and_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"")
    with pytest.raises(zoo.ZooError, match=r"a\.whl: sha256 00 wanted, e3b0c44298fc1c14.* seen"):
        zoo.verify(file, "00")


def test_unknown_entry_lists_the_zoo() -> None:
    with pytest.raises(zoo.ZooError, match="alexnet: not in the zoo; it has mobilenet_v2, "):
        zoo.path("alexnet")
