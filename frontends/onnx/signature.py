"""What a model takes: its inputs with the sizes that the file leaves open, and those that the user gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npuq.ir import DType, RuleError, TensorType, require

from .read import element_type
from .registry import require_size

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Input:
    """A declared input; open sizes are symbols ("?" where the file has no word for them), open ranks None."""

    name: str
    dtype: DType
    sizes: tuple[int | str, ...] | None

    def __str__(self) -> str:
        sizes = "..." if self.sizes is None else ",".join(map(str, self.sizes))
        return f"{self.name}: {self.dtype}[{sizes}]"

    @property
    def example(self) -> str:
        """A `--shape` flag that would fix the sizes."""
        sizes = self.sizes or ("N", 3, "H", "W")
        fixed = (size if isinstance(size, int) else 1 if axis == 0 else 224 for axis, size in enumerate(sizes))
        return f"--shape {self.name}:{','.join(map(str, fixed))}"


def inputs(graph: GraphProto) -> tuple[Input, ...]:
    """The declared inputs; old files list the initializers among them, which are left out."""
    stored = {tensor.name for tensor in graph.initializer}
    stored.update(tensor.values.name for tensor in graph.sparse_initializer)
    return tuple(_input(value) for value in graph.input if value.name not in stored)


def _input(value: ValueInfoProto) -> Input:
    require(value.type.HasField("tensor_type"), f"input {value.name!r} is no tensor")
    tensor = value.type.tensor_type
    dtype = element_type(tensor.elem_type, f"input {value.name!r}")
    if not tensor.HasField("shape"):
        return Input(value.name, dtype, None)
    sizes = (size.dim_value if size.dim_value > 0 else size.dim_param or "?" for size in tensor.shape.dim)
    return Input(value.name, dtype, tuple(sizes))


def resolve(declared: Sequence[Input], shapes: Shapes) -> dict[str, TensorType]:
    """The static type of every input; a batch alone that is left open becomes 1.

    A size that is given for a symbol holds for that symbol everywhere. Raises `RuleError` for names that do not
    exist, sizes that disagree with fixed ones, and sizes that stay open.
    """
    by_name = {one.name: one for one in declared}
    for name in shapes:
        require(name in by_name, f"there is no input {name!r}; {_listed(declared)}")
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        _agree(by_name[name], shape, symbols)
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
        example = " ".join(one.example for one in open_)
        raise RuleError(f"sizes of inputs are not fixed; {_listed(declared)}; fix them, for example: {example}")
    return types


def _agree(one: Input, shape: Sequence[int], symbols: dict[str, int]) -> None:
    """Require a given shape to fit the declared one, and note what it says about symbols."""
    spelled = ",".join(map(str, shape))
    require(all(isinstance(size, int) and size > 0 for size in shape), f"shape {spelled} given for input {one}")
    if one.sizes is None:
        return
    fits = len(shape) == len(one.sizes)
    for given, size in zip(shape, one.sizes, strict=False):
        if isinstance(size, str) and size != "?":
            fits = fits and symbols.setdefault(size, given) == given
        else:
            fits = fits and size in ("?", given)
    require(fits, f"shape {spelled} given, but input {one} is declared")


def _fixed(sizes: Sequence[int | str] | None, symbols: Mapping[str, int]) -> tuple[int, ...] | None:
    """Sizes with symbols replaced; None where more than a batch stays open."""
    if sizes is None:
        return None
    known = [symbols.get(size) if isinstance(size, str) else size for size in sizes]
    if len(known) > 1 and known[0] is None:
        known[0] = 1
    fixed = tuple(size for size in known if size is not None)
    return fixed if len(fixed) == len(known) else None


def _listed(declared: Iterable[Input]) -> str:
    return f"the inputs are {', '.join(map(str, declared)) or 'none'}"
