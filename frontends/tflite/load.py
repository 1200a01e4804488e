"""TFLite files to float graphs: translates the operators in order and collects every problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from npuq.ir import Builder, DType, Graph, NpuqError, RuleError, TensorType, require, verify

from ..context import Node, require_size
from ..problem import Outcome, Problems
from ..specialize import Shapes
from .read import Model, Operator, Tensor, read_model
from .registry import CONVERTERS, Operation, Pairs, translate


def to_graph(source: str | Path, shapes: Shapes | None = None) -> Outcome:
    """Translate a TFLite model to a float graph; integers keep their scales as quantize/dequantize pairs.

    `shapes` gives the shapes of inputs whose sizes may change; the default is the file's. Raises `ParseError` for
    damaged files.
    """
    path = Path(source)
    model = read_model(path)
    builder = Builder(path.stem)
    importer = _Importer(Problems(path.name), model, builder, Pairs(builder))
    try:
        return importer.problems, importer.run(shapes or {})
    except RuleError as error:
        raise NpuqError(f"{path.name}: {error}") from None


@dataclass
class _Importer:
    """The translation of a graph; `scope` holds the value of every tensor so far, None after a problem."""

    problems: Problems
    model: Model
    builder: Builder
    pairs: Pairs
    scope: dict[int, str | None] = field(default_factory=dict)

    def run(self, shapes: Shapes) -> Graph | None:
        self.inputs(shapes)
        for spec in self.model.operators:
            results = self.operator(spec)
            for index, number in enumerate(spec.outputs):
                self.scope[number] = None if results is None else results[index]
        outputs = {self.model.tensor(number).name: self.value(number) for number in self.model.outputs}
        require(len(outputs) > 0, "the graph has no outputs")
        known = {name: value for name, value in outputs.items() if value is not None}
        return None if self.problems else verify(self.builder.build(known))

    def inputs(self, shapes: Shapes) -> None:
        """Add the graph's inputs; an input of integers with a scale becomes a float and a quantize."""
        tensors = {number: self.model.tensor(number) for number in self.model.inputs}
        names = [tensor.name for tensor in tensors.values()]
        for name in shapes:
            require(name in names, f"there is no input {name!r}; the inputs are {', '.join(names) or 'none'}")
        for number, tensor in tensors.items():
            shape = tuple(shapes.get(tensor.name, tensor.shape))
            open_ = tensor.open
            fits = len(shape) == len(open_) and all(
                size in (-1, given) for size, given in zip(open_, shape, strict=True)
            )
            require(fits and min(shape, default=1) > 0, f"shape {shape} of input {tensor.name!r}, declared as {open_}")
            require_size(shape)
            dtype = DType.F32 if tensor.is_quantized else tensor.dtype
            value = self.builder.input(tensor.name, TensorType(dtype, shape))
            if tensor.is_quantized:
                assert tensor.quant is not None
                value = self.pairs.add(value, tensor.dtype, tensor.quant, "")
            self.scope[number] = value

    def value(self, number: int) -> str | None:
        if number not in self.scope:
            tensor = self.model.tensor(number)
            require(tensor.array is not None, f"tensor {tensor.name!r} is neither computed nor stored")
            assert tensor.array is not None
            if tensor.is_quantized and tensor.quant is not None and tensor.quant.axis is None:
                integers = self.builder.constant(tensor.array, f"{tensor.name}.integers", tensor.quant)
                self.scope[number] = self.pairs.real(integers, tensor.name)
            else:
                self.scope[number] = self.builder.constant(tensor.array, tensor.name)
        return self.scope[number]

    def operator(self, spec: Operator) -> tuple[str, ...] | None:
        """Return the values of an operator's outputs, or None if it or one of its operands has a problem."""
        place, outputs = self.problems.label, tuple[Tensor, ...]()
        with self.problems.noted(spec.name, place):
            outputs = tuple(self.model.tensor(number) for number in spec.outputs)
        if len(outputs) < len(spec.outputs):
            return None
        place = f"{place}:{outputs[0].name}" if outputs else place
        with self.problems.noted(spec.name, place):
            require(not spec.custom, "no converter for this custom operator")
            require(spec.name in CONVERTERS, "no converter for this TFLite operator")
            operands = tuple(None if number == -1 else self.value(number) for number in spec.inputs)
            if any(one is None and number != -1 for one, number in zip(operands, spec.inputs, strict=True)):
                return None
            inputs = tuple(None if number == -1 else self.model.tensor(number) for number in spec.inputs)
            node = Node(spec.name, place, operands, tuple(tensor.name for tensor in outputs), {})
            return translate(Operation(self.builder, node, spec=spec, inputs=inputs, outputs=outputs, pairs=self.pairs))
        return None
