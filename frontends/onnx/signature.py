"""The inputs of a model, with the file's sizes and the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npuq.ir import DType, RuleError, TensorType, require

from ..context import require_size
from ..specialize import Shapes
from .read import element_type

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto


@dataclass(frozen=True, slots=True)
class Input:
    """A declared input; open sizes are symbols ("?" for unnamed ones), an open rank is None."""

    name: str
    dtype: DType
    sizes: tuple[int | str, ...] | None

    def __str__(self) -> str:
        sizes = "..." if self.sizes is None else ",".join(map(str, self.sizes))
        return f"{self.name}: {self.dtype}[{sizes}]"

    @property
    def batch(self) -> str:
        """The symbol of the first of several axes, the batch, or ""."""
        first = self.sizes[0] if self.sizes is not None and len(self.sizes) > 1 else ""
        return first if isinstance(first, str) and first != "?" else ""

    def example(self, symbols: Mapping[str, int]) -> str:
        """A `--shape` flag that would fix the sizes."""
        sizes = self.sizes or ("N", 3, "H", "W")
        known = [
            symbols.get(size, 1 if axis == 0 else 224) if isinstance(size, str) else size
            for axis, size in enumerate(sizes)
        ]
        return f"--shape {self.name}:{','.join(map(str, known))}"


def inputs(graph: GraphProto) -> tuple[Input, ...]:
    """The declared inputs, without the initializers that old files list among them."""
    stored = {tensor.name for tensor in graph.initializer}
    stored.update(tensor.values.name for tensor in graph.sparse_initializer)
    return tuple(_input(value) for value in graph.input if value.name not in stored)


def _input(value: ValueInfoProto) -> Input:
    require(value.type.HasField("tensor_type"), f"input {value.name!r} is not a tensor")
    tensor = value.type.tensor_type
    dtype = element_type(tensor.elem_type, f"input {value.name!r}")
    if not tensor.HasField("shape"):
        return Input(value.name, dtype, None)
    sizes = (size.dim_value if size.dim_value > 0 else size.dim_param or "?" for size in tensor.shape.dim)
    return Input(value.name, dtype, tuple(sizes))


def resolve(declared: Sequence[Input], shapes: Shapes) -> dict[str, TensorType]:
    """Return the static type of every input; an open batch becomes 1 wherever its symbol occurs.

    A size for a symbol holds wherever it occurs. Raises `RuleError` for unknown names, for sizes that contradict fixed
    ones, and for sizes that stay open.
    """
    by_name = {one.name: one for one in declared}
    for name in shapes:
        require(name in by_name, f"there is no input {name!r}; {_listed(declared)}")
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        _agree(by_name[name], shape, symbols)
    for one in declared:
        if one.batch and one.name not in shapes:
            symbols.setdefault(one.batch, 1)
    types = {}
    open_: list[Input] = []
    for one in declared:
        sizes = tuple(shapes[one.name]) if one.name in shapes else one.sizes
        fixed = _fixed(sizes, symbols)
        if fixed is None:
            open_.append(one)
            continue
        require_size(fixed)
        types[one.name] = TensorType(one.dtype, fixed)
    if open_:
        example = " ".join(one.example(symbols) for one in open_)
        left = f"sizes of {len(open_)} of {len(declared)} inputs are not fixed: {', '.join(map(str, open_))}"
        raise RuleError(f"{left}; fix them, for example: {example}")
    return types


def _agree(one: Input, shape: Sequence[int], symbols: dict[str, int]) -> None:
    """Require a shape to fit the declared one, and record its symbols' sizes."""
    spelled = ",".join(map(str, shape))
    require(all(isinstance(size, int) and size > 0 for size in shape), f"shape {spelled} given for input {one}")
    if one.sizes is None:
        return
    fits = len(shape) == len(one.sizes)
    for number, size in zip(shape, one.sizes, strict=False):
        if isinstance(size, str) and size != "?":
            fits = fits and symbols.setdefault(size, number) == number
        else:
            fits = fits and size in ("?", number)
    require(fits, f"shape {spelled} given, but input {one} is declared")


def _fixed(sizes: Sequence[int | str] | None, symbols: Mapping[str, int]) -> tuple[int, ...] | None:
    """Replace symbols by sizes; None if more than an unnamed batch stays open."""
    if sizes is None:
        return None
    known = [symbols.get(size) if isinstance(size, str) else size for size in sizes]
    if len(known) > 1 and known[0] is None:
        known[0] = 1
    fixed = tuple(size for size in known if size is not None)
    return fixed if len(fixed) == len(known) else None


def _listed(declared: Iterable[Input]) -> str:
    return f"the inputs are {', '.join(map(str, declared)) or 'none'}"
