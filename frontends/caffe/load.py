"""Caffe files to float graphs: translates the layers in order and collects every problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from npuq.ir import Builder, DType, Graph, NpuqError, RuleError, TensorType, require, verify

from ..context import Node, require_size
from ..files import weights_beside
from ..problem import Outcome, Problems
from ..specialize import Shapes
from .read import Net, read_net
from .registry import CONVERTERS, Layer, Spec, translate

TRAINING = ("Accuracy", "SoftmaxWithLoss", "EuclideanLoss", "SigmoidCrossEntropyLoss", "HingeLoss")
"""Layers of training."""


def to_graph(source: str | Path, shapes: Shapes | None = None, *, weights: str | Path | None = None) -> Outcome:
    """Translate a Caffe network to a float graph with static shapes.

    `source` is the .prototxt, `weights` the .caffemodel, by default the one of the same name, or the only one, in the
    folder of the .prototxt. `shapes` overrides the file's shapes of inputs.
    """
    architecture = Path(source)
    importer = _Importer(Problems(architecture.name), Builder(architecture.stem))
    try:
        net = read_net(architecture, weights_of(architecture, weights))
        return importer.problems, importer.run(net, shapes or {})
    except RuleError as error:
        raise NpuqError(f"{architecture.name}: {error}") from None


def weights_of(architecture: Path, weights: str | Path | None) -> Path:
    """Return the named file of weights, or the one in the architecture's folder."""
    return weights_beside(architecture, ".caffemodel") if weights is None else Path(weights)


@dataclass
class _Importer:
    """The translation of a network; `scope` holds the current value of every blob, None after a problem."""

    problems: Problems
    builder: Builder
    scope: dict[str, str | None] = field(default_factory=dict)

    def run(self, net: Net, shapes: Shapes) -> Graph | None:
        """Translate the layers; unread blobs are the outputs."""
        self.inputs(net, shapes)
        unread: dict[str, None] = {}
        for spec in net.layers:
            for bottom in spec.bottoms:
                require(bottom in self.scope, f"{spec.name}: bottom {bottom!r} is not defined, or only later")
                unread.pop(bottom, None)
            results = self.layer(spec)
            for index, top in enumerate(spec.tops):
                self.scope[top] = None if results is None else results[index]
                unread[top] = None
        if self.problems:
            return None
        require(len(unread) > 0, "the network has no outputs")
        outputs = {top: value for top in unread if (value := self.scope[top]) is not None}
        return verify(self.builder.build(outputs))

    def inputs(self, net: Net, shapes: Shapes) -> None:
        read = {bottom for spec in net.layers for bottom in spec.bottoms}
        for name in shapes:
            require(name in net.inputs, f"there is no input {name!r}; the inputs are {', '.join(net.inputs) or 'none'}")
        for name, declared in net.inputs.items():
            shape = shapes.get(name, declared)
            if name in read:
                example = f"fix it, for example: --shape {name}:1,3,224,224"
                if shape is None:
                    raise RuleError(f"the shape of input {name!r} is not given; {example}")
                require(all(size > 0 for size in shape), f"shape {tuple(shape)} of input {name!r}; {example}")
                require_size(tuple(shape))
                self.scope[name] = self.builder.input(name, TensorType(DType.F32, tuple(shape)))

    def layer(self, spec: Spec) -> tuple[str, ...] | None:
        """Return the values of a layer's tops, or None if it or one of its bottoms has a problem."""
        place = f"{self.problems.label}:{spec.name}"
        if spec.type not in CONVERTERS:
            remedy = "take the network for deployment instead of the one for training" if spec.type in TRAINING else ""
            self.problems.note(spec.type, place, "no converter for this Caffe layer", remedy)
            return None
        operands = tuple(operand for bottom in spec.bottoms if (operand := self.scope[bottom]) is not None)
        if len(operands) < len(spec.bottoms):
            return None
        # The value of an in-place layer has the layer's name.
        names = tuple(spec.name if top in self.builder.types else top for top in spec.tops)
        with self.problems.noted(spec.type, place):
            return translate(Layer(self.builder, Node(spec.type, place, operands, names, {}), spec=spec))
        return None
