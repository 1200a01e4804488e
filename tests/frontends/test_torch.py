"""PyTorch modules, exported programs and code with weights: the imported graph computes what PyTorch computes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npuq
from benchmarks import data, sequences
from npuq.frontends import check, load
from npuq.ir import Graph, NpuqError, evaluate
from npuq.passes.canonical.canonicalize import canonicalize
from tests import zoo
from tests.zoo.bert import read_safetensors

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")
pytest.importorskip("onnxscript", reason="PyTorch's ONNX exporter needs onnxscript: pip install '.[torch]'")

from tests.frontends import torch_nets  # noqa: E402  # where PyTorch is missing, so are its classes

# PyTorch warns of its own ways, which change with its versions.
pytestmark = pytest.mark.filterwarnings("ignore:::torch", "ignore::DeprecationWarning", "ignore::FutureWarning")

TOLERANCE = 1e-4
"""Of the output's range."""

nn: Any = torch.nn
Module: Any = nn.Module

CODE = """
import torch

class Part(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.line = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.line(x).relu_()

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.part = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), Part(8)

    def forward(self, x):
        return self.part(self.norm(self.first(x)).mean((2, 3)))
"""


class Transformer(Module):  # type: ignore[misc]  # as above
    """Embedded tokens, two layers, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.layers(self.embed(tokens)).mean(1))


def agree(graph: Graph, module: Any, *inputs: Any) -> None:
    """The canonical form of a graph gives what the module gives."""
    with torch.no_grad():
        wanted = module.eval()(*inputs).numpy()
    (ours,) = evaluate(canonicalize()(graph))(*(value.numpy() for value in inputs))
    assert ours.shape == wanted.shape
    assert np.abs(np.asarray(ours) - wanted).max() <= TOLERANCE * np.ptp(wanted)


@pytest.mark.zoo
def test_mobilenet_v2() -> None:
    torch.manual_seed(0)
    module = torch_nets.MobileNetV2()
    x = torch.randn(1, 3, 224, 224)
    graph = load(module, inputs=x, weights=zoo.path("mobilenet_v2_pth"))
    module.load_state_dict(torch.load(zoo.path("mobilenet_v2_pth"), weights_only=True))
    agree(graph, module, x)
    assert {node.loc for node in graph.nodes} >= {"MobileNetV2:features.0.0", "MobileNetV2:classifier.1"}
    assert "features.1.conv.0.0.weight" in graph.constants


def efficientnet_lite0() -> tuple[Any, Mapping[str, np.ndarray]]:
    """The published net, and some of ImageNet's pictures, made small."""
    net = torch_nets.EfficientNetLite0()
    net.load_state_dict(torch.load(zoo.path("efficientnet_lite0_pth"), weights_only=True))
    pictures = np.stack([data.pixels(picture, (128, 128)) for picture in data.imagenet20()[0][::4]])
    return net, {"x": data.normalized(pictures, (0.498,) * 3, (0.502,) * 3)}


def minilm() -> tuple[Any, Mapping[str, np.ndarray]]:
    """The published net, and the first words of parts of the licence, some of them with padding behind."""
    net = torch_nets.Bert()
    weights = read_safetensors(zoo.path("minilm_safetensors"))
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    text = re.findall(r"\w+|[^\w\s]", (Path(__file__).parents[2] / "LICENSE").read_text().lower())
    names = ("input_ids", "attention_mask", "token_type_ids")
    rows = zip(*sequences.rows(text, 5, seed=40), strict=True)
    return net, {name: np.concatenate(part)[:, :32] for name, part in zip(names, rows, strict=True)}


def smollm2() -> tuple[Any, Mapping[str, np.ndarray]]:
    """Two layers with random weights, and random tokens."""
    torch.manual_seed(0)
    return torch_nets.SmolLm2(), {"tokens": np.random.default_rng(0).integers(0, 1000, (5, 32))}


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("make", "least", "kinds", "host"),
    [
        (efficientnet_lite0, {8: 0.99}, {"conv": 49, "clip": 33, "add": 9}, set()),
        (
            minilm,
            {8: 0.4},  # its features' outliers want 16 bits, which the ONNX file's tests hold it to
            {"layer_norm": 13, "softmax": 6, "gelu": 6},
            {"cast", "reshape", "quantize"},
        ),
        (smollm2, {8: 0.98, 16: 0.9999}, {"rms_norm": 5, "softmax": 2, "silu": 2}, set()),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_nets_become_programs(make: Any, least: Mapping[int, float], kinds: Mapping[str, int], host: set[str]) -> None:
    """As in PyTorch, and in integers of some bits with at least such a correlation.

    Of a net with a mask of integers, the mask alone is made on the host.
    """
    module, samples = make()
    first = {name: torch.from_numpy(array[:1]) for name, array in samples.items()}
    graph = npuq.load(module, inputs=first)
    differences = npuq.verify_import(graph, module, {name: array[:2] for name, array in samples.items()}, inputs=first)
    assert max(difference.share for difference in differences) <= TOLERANCE
    canonical = [node.op.name for node in canonicalize()(graph).nodes]
    assert {kind: canonical.count(kind) for kind in kinds} == kinds
    with torch.no_grad():
        wanted = module.eval()(*(torch.from_numpy(array[3:]) for array in samples.values()))
    for bits, share in least.items():
        quantized = npuq.quantize(graph, {name: array[:3] for name, array in samples.items()}, bits=bits, effort=0)
        assert {node.op.name for node in quantized.graph.nodes if node.host} == host
        seen = quantized.simulate(**{name: array[3:] for name, array in samples.items()})
        for ours, theirs in zip(seen, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
            assert correlation(ours, theirs.numpy()) > share


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.zoo
def test_code_with_its_weights() -> None:
    folder = zoo.path("digits_torch")
    weights = folder / "models" / "handwriting_model.pth"
    graph = load(folder / "model.py", {"x": (1, 1, 28, 28)}, weights=weights)
    from npuq.frontends.torch.source import module

    net, x = module(folder / "model.py", weights), torch.randn(4, 1, 28, 28)
    agree(graph, net, x[:1])
    quantized = npuq.quantize(graph, x.numpy(), effort=0)
    with torch.no_grad():
        wanted = net.eval()(x).numpy()
    assert correlation(quantized.simulate(x.numpy())[0], wanted) > 0.99
    assert not [node for node in quantized.graph.nodes if node.host]


def test_a_transformer_keeps_its_ops_and_names() -> None:
    torch.manual_seed(0)
    module = Transformer()
    tokens = torch.randint(0, 50, (1, 7))
    module.train()
    graph = load(module, inputs={"tokens": tokens})
    assert module.training, "the user's module is left as it was"
    agree(graph, module, tokens)
    kinds = [node.op.name for node in graph.nodes]
    assert (kinds.count("layer_norm"), kinds.count("softmax"), kinds.count("gelu")) == (4, 2, 2)
    assert list(graph.inputs) == ["tokens"]
    assert {"layers.layers.0.norm1", "layers.layers.1.gelu"} <= {node.results[0] for node in graph.nodes}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of code, and beside it the weights of its module."""
    from npuq.frontends.torch.source import module

    folder = tmp_path_factory.mktemp("code")
    (folder / "net.py").write_text(CODE)
    names: dict[str, Any] = {}
    exec(CODE, names)
    torch.manual_seed(0)
    torch.save(names["Net"]().state_dict(), folder / "net.pth")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in names["Net"]().state_dict().items()}}, folder / "nested.pth"
    )
    assert type(module(folder / "net.py", folder / "net.pth")).__name__ == "Net"
    return folder / "net.py"


def test_an_exported_program_keeps_its_batch_open(code: Path, tmp_path: Path) -> None:
    from npuq.frontends.torch.source import module

    net = module(code, code.with_suffix(".pth")).eval()
    x = torch.randn(2, 3, 8, 8)
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(exported, tmp_path / "net.pt2")
    for source in (exported, tmp_path / "net.pt2"):
        assert load(source).inputs["x"].shape == (1, 3, 8, 8)
    graph = load(tmp_path / "net.pt2", {"x": (2, 3, 8, 8)})
    agree(graph, net, x)


def test_an_import_is_verified(code: Path) -> None:
    options: dict[str, Any] = {"shapes": {"x": (1, 3, 8, 8)}, "weights": code.with_suffix(".pth")}
    graph = npuq.load(code, **options)
    (difference,) = npuq.verify_import(graph, code, **options)
    assert difference.share < 1e-5


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(NpuqError) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_that_do_not_fit(code: Path, tmp_path: Path) -> None:
    shapes = {"x": (1, 3, 8, 8)}
    assert load(code, shapes, weights=code.with_name("nested.pth")).output_types[0].shape == (1, 8)
    state = torch.load(code.with_suffix(".pth"), weights_only=True)
    torch.save({"other": state["first.bias"]}, tmp_path / "a.pth")
    assert refused(code, shapes=shapes, weights=tmp_path / "a.pth") == (
        "net.py:Net: the weights do not fit: 8 missing (first.bias, ...), 1 unknown (other, ...)"
    )
    torch.save(state | {"first.bias": torch.zeros(9)}, tmp_path / "a.pth")
    assert refused(code, shapes=shapes, weights=tmp_path / "a.pth").endswith("first.bias of shape (9,), (8,) wanted")
    torch.save([1], tmp_path / "a.pth")
    assert refused(code, shapes=shapes, weights=tmp_path / "a.pth").startswith("a.pth: not a state dict: ")
    (tmp_path / "a.pth").write_bytes(code.with_suffix(".pth").read_bytes()[:100])
    assert refused(code, shapes=shapes, weights=tmp_path / "a.pth").startswith("a.pth: not a file of weights: ")
    assert refused(code, shapes=shapes, weights=tmp_path / "b.pth").endswith("b.pth: there is no such file")
    assert refused(code, shapes=shapes) == "net.py: the weights are missing; name them: --weights FILE.pth"


class Evil:
    """Whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_of_code_is_refused_and_not_run(code: Path, tmp_path: Path) -> None:
    torch.save(Transformer(), tmp_path / "whole.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(tmp_path / "run")))
    for name in ("whole.pth", "evil.pth"):
        told = refused(code, shapes={"x": (1, 3, 8, 8)}, weights=tmp_path / name)
        assert told == (
            f"{name}: a pickle of more than weights could run any code and is refused; "
            "save the weights: torch.save(model.state_dict(), path)"
        )
    assert not (tmp_path / "run").exists()


def test_other_faults(code: Path, tmp_path: Path) -> None:
    weights = code.with_suffix(".pth")
    assert refused(weights) == "net.pth: weights without code; name both: npuq.load('net.py', weights='net.pth')"
    (tmp_path / "a.pt2").write_bytes(b"PK")
    assert refused(tmp_path / "a.pt2").startswith("a.pt2: not an exported program: ")
    (tmp_path / "a.py").write_text("1 / 0")
    assert refused(tmp_path / "a.py", weights=weights) == "a.py: ZeroDivisionError: division by zero"
    (tmp_path / "a.py").write_text(CODE.replace("def __init__(self):", "def __init__(self, width):"))
    assert refused(tmp_path / "a.py", weights=weights) == (
        "a.py: no module class without required arguments; its classes are Part, Net"
    )
    assert refused(code, weights=weights).endswith("are wanted, for example: --shape x:1,3,224,224")
    assert refused(code, weights=weights, shapes={"y": (1,)}) == "Net: there is no input 'y'; the inputs are x"
    assert refused(code, weights=weights, shapes={"x": (1, 4, 8, 8)}).startswith("Net: torch.export cannot trace it: ")
    assert refused(object(), framework="torch") == "objects of type object are not PyTorch modules"


def test_operators_without_a_converter_are_listed() -> None:
    class Sorting(Module):  # type: ignore[misc]  # as above
        def forward(self, x: Any) -> Any:
            return torch.sort(x)[0] + torch.linalg.det(x).sum()

    found = check(Sorting(), inputs=torch.randn(3, 3))
    assert {problem.operator for problem in found} & {"TopK", "Det"}
