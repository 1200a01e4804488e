"""Reads the weights of a PyTorch file written before 1.6, without PyTorch and without running what the file says."""

import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class Storage:
    """A flat buffer that follows the pickles."""

    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def rebuild(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> Tensor:
    """Stand in for torch._utils._rebuild_tensor_v2, whose last arguments concern gradients."""
    return Tensor(storage, offset, shape, strides)


class Unpickler(pickle.Unpickler):
    """Knows an ordered dictionary, tensors and storages; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve one of the few globals that a file of weights needs."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not a part of plain weights")

    def persistent_load(self, pid: Any) -> Storage:
        """Name the buffer that a tensor looks into."""
        kind, dtype, key, _, length, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"{kind!r} is not a whole storage")
        return Storage(key, dtype, length)


def read_weights(path: Path) -> dict[str, Array]:
    """Read a state dict, without `num_batches_tracked`, which inference does not use."""
    with path.open("rb") as file:
        if Unpickler(file).load() != MAGIC:
            raise pickle.UnpicklingError(f"{path}: not a PyTorch file of the old format")
        Unpickler(file).load()  # protocol version
        Unpickler(file).load()  # sizes of C types
        tensors: dict[str, Tensor] = Unpickler(file).load()
        keys: list[str] = Unpickler(file).load()
        dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
        buffers = {key: read_storage(file, dtypes[key]) for key in keys}
    views = {name: view(tensor, buffers[tensor.storage.key]) for name, tensor in tensors.items()}
    return {name: array for name, array in views.items() if not name.endswith(".num_batches_tracked")}


def read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> Array:
    """Read a length and that many elements."""
    (length,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(length * dtype.itemsize), dtype, length)


def view(tensor: Tensor, buffer: Array) -> Array:
    """Gather a strided tensor; an index outside its buffer is an error."""
    index = np.full(tensor.shape, tensor.offset)
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.strides, strict=True)):
        index += (np.arange(size) * stride).reshape([-1 if i == axis else 1 for i in range(len(tensor.shape))])
    gathered: Array = buffer[index]
    return gathered
