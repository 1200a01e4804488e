"""JAX functions and Flax modules: the imported graph computes what JAX computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

import npuq
from examples.train_fashion import ResNet
from npuq.frontends import check, load
from npuq.frontends.jax.registry import CONVERTERS
from npuq.ir import Graph, NpuqError, evaluate, verify
from npuq.passes.canonical.canonicalize import canonicalize
from tests.frontends.flax_nets import Block

TOLERANCE = 1e-5
"""Of the output's greatest number."""

Shape = tuple[int, ...]
pools: Any = linen
"""Flax's pools have no types."""
X: Shape = (2, 6, 7, 4)


def numbers(shape: Shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agree(graph: Graph, wanted: Any, *inputs: np.ndarray, forms: int = 2) -> None:
    """The canonical form of a graph, and the graph itself, give the wanted outputs."""
    for form in (canonicalize()(graph), verify(graph))[:forms]:
        leaves = jax.tree.leaves(wanted)
        computed = evaluate(form)(*inputs)
        assert len(computed) == len(leaves)
        for ours, theirs in zip(computed, leaves, strict=True):
            assert ours.shape == theirs.shape
            assert np.asarray(ours).dtype == theirs.dtype
            most = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max()
            assert most <= TOLERANCE * np.abs(np.asarray(theirs, np.float64)).max()


def looped(x: jax.Array) -> jax.Array:
    """A loop with a carry, stacked inputs and stacked outputs."""

    def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = 0.5 * state + row
        return state, jnp.tanh(state)

    last, rows = lax.scan(step, jnp.zeros(x.shape[1:]), x)
    _, back = lax.scan(step, last, x, reverse=True)
    return rows + back


def min_pool(x: jax.Array) -> jax.Array:
    pooled: jax.Array = lax.reduce_window(x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 1, 2, 1), "VALID")
    return pooled


def conv(x: jax.Array, **options: Any) -> jax.Array:
    kernel = jnp.asarray(numbers((3, 3, 4, 5), 3))
    settings: dict[str, Any] = {"window_strides": (1, 1), "padding": "SAME"} | options
    return lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Shape, ...]]] = {
    "softmax": (jax.nn.softmax, (X,)),
    "log_softmax": (jax.nn.log_softmax, (X,)),
    "softmax over an inner axis": (partial(jax.nn.softmax, axis=1), (X,)),
    "gelu": (jax.nn.gelu, (X,)),
    "exact gelu": (partial(jax.nn.gelu, approximate=False), (X,)),
    "silu": (jax.nn.silu, (X,)),
    "relu6": (jax.nn.relu6, (X,)),
    "hard_swish": (jax.nn.hard_swish, (X,)),
    "leaky_relu": (jax.nn.leaky_relu, (X,)),
    "elu": (jax.nn.elu, (X,)),
    "softplus": (jax.nn.softplus, (X,)),
    "clip": (lambda x: jnp.clip(x, -0.5, 0.75), (X,)),
    "several outputs": (lambda x: {"sum": x.sum(), "parts": jnp.split(x, 2, axis=1)}, (X,)),
    "mean and variance": (lambda x: (x.mean((1, 2)), x.var(-1, keepdims=True), x.std()), (X,)),
    "extremes": (lambda x: (x.max(1), x.min((0, 3)), x.argmax(-1), x.argmin(1), x.prod(3)), (X,)),
    "truth": (lambda x: ((x > 0).any(1), (x > -2).all(2), ~(x != 0)), (X,)),
    "arithmetic": (lambda x, y: x * y - x / (2 + jnp.abs(y)) + x**3 + jnp.maximum(x, y), (X, X)),
    "functions": (
        lambda x: jnp.exp(x) + jnp.sin(x) * jnp.cos(x) + jnp.expm1(x) + jnp.log1p(x * x) + lax.rsqrt(1 + x * x),
        (X,),
    ),
    "more functions": (
        lambda x: jnp.floor(x) + jnp.ceil(x) + jnp.round(x) + jnp.sign(x) + jnp.exp2(x) + lax.erf(x) + jnp.sqrt(abs(x)),
        (X,),
    ),
    "powers": (lambda x: (jnp.abs(x) + 1) ** 1.7 + (1 + x * x) ** -1 + 2.0**x, (X,)),
    "remainder": (lambda x: jnp.mod(x, 0.3) + lax.rem(x, jnp.float32(0.7)), (X,)),
    "where": (lambda x: jnp.where(x > 0, x, 0.1 * x), (X,)),
    "slices": (lambda x: (x[:, 1:5:2], x[0], x[..., -1], x[:, ::-1]), (X,)),
    "pads": (
        lambda x: (jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0))), lax.pad(x, 1.0, ((0, 0, 0), (-1, 2, 0)) * 2)),
        (X,),
    ),
    "shapes": (lambda x: x.reshape(2, -1).T.reshape(3, 14, -1).swapaxes(0, 1)[None].squeeze(0), (X,)),
    "stack": (lambda x, y: jnp.concatenate([jnp.stack([x, y]), jnp.stack([y, x])], axis=2), (X, X)),
    "broadcast": (lambda x: jnp.broadcast_to(x[:, :1], (3, *X[:1], 4, *X[2:])) + 0, (X,)),
    "ranges": (lambda x: x + jnp.arange(4) + jnp.linspace(0, 1, 7)[:, None], (X,)),
    "take": (lambda x: jnp.take(x, jnp.array([3, 0, -1]), axis=1), (X,)),
    "cumsum": (lambda x: jnp.cumsum(x, 1) + jnp.cumsum(x, axis=2)[:, ::-1], (X,)),
    "einsum": (lambda x, y: jnp.einsum("nhwc,nhvc->hnvw", x, y), (X, X)),
    "matmul": (lambda x, y: x @ y.swapaxes(-1, -2), (X, X)),
    "weights on the left": (lambda x: jnp.tensordot(jnp.asarray(numbers((9, 4))), x, (1, 3)), (X,)),
    "conv": (conv, (X,)),
    "strided conv": (partial(conv, window_strides=(2, 1), padding=((0, 1), (2, 0))), (X,)),
    "dilated conv": (partial(conv, rhs_dilation=(2, 1)), (X,)),
    "spread conv": (partial(conv, lhs_dilation=(2, 3), padding=((2, 2), (1, 3))), (X,)),
    "computed weights": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (X, (3, 3, 4, 5)),
    ),
    "max pool": (lambda x: pools.max_pool(x, (2, 3), (2, 2), padding="SAME"), (X,)),
    "min pool": (min_pool, (X,)),
    "mean pool": (lambda x: pools.avg_pool(x, (2, 2), (2, 1)), (X,)),
    "mean pool at the edge": (lambda x: pools.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False), (X,)),
    "resize": (lambda x: jax.image.resize(x, (2, 12, 5, 4), "bilinear"), (X,)),
    "scan": (looped, (X,)),
    "branch": (lambda x: lax.cond(True, jnp.sin, jnp.cos, x), (X,)),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(x) * 2), (X,)),
    "attention": (lambda q, k, v: jax.nn.dot_product_attention(q, k, v), ((1, 5, 2, 4),) * 3),
    "causal attention": (
        lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True),
        ((1, 5, 2, 4),) * 3,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_computes_what_jax_computes(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    data = tuple(numbers(shape, seed) for seed, shape in enumerate(shapes))
    agree(load(function, inputs=data), jax.jit(function)(*data), *data, forms=1)


def test_activations_are_recognized() -> None:
    for function, kind in ((jax.nn.leaky_relu, "leaky_relu"), (jax.nn.elu, "elu"), (jax.nn.relu6, "clip")):
        graph = canonicalize()(load(function, inputs=numbers((2, 3))))
        assert [node.op.name for node in graph.nodes] == [kind]


class Tokens(Block):
    """A transformer block over embedded tokens."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(rngs)
        self.embed = nnx.Embed(50, 16, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return super().__call__(self.embed(tokens))


def jittered(tree: Any) -> Any:
    """Weights away from their ones and zeros."""
    rng = np.random.default_rng(5)

    def moved(leaf: Any) -> Any:
        plain = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf + 0.1 * rng.random(leaf.shape).astype(np.float32) if plain else leaf

    return jax.tree.map(moved, tree)


@pytest.fixture(scope="module")
def block() -> Tokens:
    module = Tokens(nnx.Rngs(0))
    definition, state = nnx.split(module)
    moved: Tokens = nnx.merge(definition, jittered(state))
    return moved


@pytest.fixture(scope="module")
def resnet() -> tuple[Callable[..., Any], Any]:
    module, rng = ResNet(), np.random.default_rng(5)
    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    variables = jax.tree.map(lambda leaf: (rng.random(leaf.shape) - 0.3).astype(np.float32) / 3, shapes)
    variables["batch_stats"] = jax.tree.map(lambda leaf: abs(leaf) + 0.1, variables["batch_stats"])
    return lambda variables, image: module.apply(variables, image, train=False), variables


def test_a_flax_transformer(block: Tokens) -> None:
    tokens = np.array([[1, 4, 9, 49, 0, 3, 7, 8]], np.int32)
    graph = load(block, inputs=tokens)
    block.eval()  # type: ignore[no-untyped-call]  # untyped in Flax
    agree(graph, block(jnp.asarray(tokens)), tokens)
    assert {"embed.embedding", "attention.query.kernel", "attention.out.bias", "up.kernel"} <= set(graph.constants)
    kinds = [node.op.name for node in canonicalize()(graph).nodes]
    assert {"layer_norm", "rms_norm", "softmax", "gelu"} <= set(kinds)
    assert not {"exp", "sqrt", "tanh", "div"} & set(kinds)


def test_a_flax_resnet_becomes_channels_first(resnet: tuple[Callable[..., Any], Any]) -> None:
    function, variables = resnet
    image = numbers((1, 28, 28, 1))
    graph = load(function, inputs=image, weights=variables)
    agree(graph, function(variables, image), image)
    assert "params.block1.conv1.kernel" in graph.constants
    assert any(node.loc == "function:ResNet/block2/shortcut" for node in graph.nodes)
    kinds = [node.op.name for node in canonicalize()(graph).nodes]
    assert kinds.count("conv") == 9
    assert set(kinds) == {"reshape", "conv", "relu", "add", "reduce_mean", "matmul"}


def test_an_imported_net_quantizes_and_simulates(resnet: tuple[Callable[..., Any], Any]) -> None:
    function, variables = resnet
    data = numbers((4, 28, 28, 1))
    quantized = npuq.quantize(npuq.load(function, inputs=data[:1], weights=variables), data, effort=0)
    (simulated,) = quantized.simulate(data)
    wanted = np.asarray(function(variables, data))
    assert np.corrcoef(simulated.ravel(), wanted.ravel())[0, 1] > 0.99
    assert not [node for node in quantized.graph.nodes if node.host]


def test_a_linen_module_with_its_variables() -> None:
    dense = linen.Dense(3)
    x = numbers((2, 4))
    variables = dense.init(jax.random.key(0), x)
    graph = load(dense, inputs=x, weights=variables)
    agree(graph, dense.apply(variables, x), x)
    assert list(graph.inputs) == ["inputs"]
    assert load(dense, {"inputs": (2, 4)}, weights=variables) == graph


def test_inputs_and_outputs_keep_their_names() -> None:
    def net(image: jax.Array, state: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {"y": image + state["h"], "h": state["h"] * 2}

    graph = load(net, inputs={"image": numbers((2,)), "state": {"h": numbers((2,))}})
    assert (list(graph.inputs), list(graph.outputs), graph.name) == (["image", "state.h"], ["h", "y"], "net")


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(NpuqError) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_arguments_keep_their_names_whatever_the_alphabet_says() -> None:
    def net(x: jax.Array, factors: dict[str, jax.Array], a: jax.Array) -> jax.Array:
        return (x * factors["z"] + factors["b"]) @ a

    inputs = numbers((2, 3)), {"z": numbers((3,)), "b": numbers(())}, numbers((3, 4))
    graph = load(net, inputs=inputs)
    assert {name: type_.shape for name, type_ in graph.inputs.items()} == {
        "x": (2, 3),
        "factors.b": (),
        "factors.z": (3,),
        "a": (3, 4),
    }
    assert npuq.verify_import(graph, net, inputs=inputs)[0].share < 1e-5


def test_all_unknown_primitives_are_told_at_once() -> None:
    def net(x: jax.Array) -> jax.Array:
        return jnp.sort(x) + lax.erf_inv(x) + lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x)

    told = refused(net, inputs=numbers((4,)))
    assert told.startswith("net: 3 problems: net:sort: sort: ")
    assert all(f"{name}: no converter for this JAX primitive" in told for name in ("sort", "erf_inv", "while"))
    assert [problem.operator for problem in check(net, inputs=numbers((4,)))] == ["sort", "erf_inv", "while"]


def test_faults_of_the_source() -> None:
    dense = linen.Dense(3)
    x = numbers((2, 4))
    assert refused(dense, inputs=x) == "Dense: its variables are wanted: npuq.load(module, inputs=x, weights=variables)"
    assert refused(jnp.tanh) == "tanh: example inputs are wanted: npuq.load(f, inputs=x)"
    assert refused(jnp.matmul, inputs=(x, x)).startswith("matmul: cannot be traced: ")
    assert "there is no argument z; the arguments are x" in refused(lambda x: x, shapes={"z": (1,)})
    assert refused(jnp.tanh, inputs=x, shapes={"x": (1,)}) == "tanh: either shapes or example inputs, not both"
    assert refused(3, framework="jax") == "objects of type int are not JAX functions"
    assert refused(3).startswith("objects of type int cannot be read; supported are .onnx, ")
    assert refused(lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), inputs=x).endswith(
        "cond: a branch that is chosen by the inputs; only constant conditions can be translated"
    )
    noisy = refused(lambda key, x: x + jax.random.normal(key, x.shape), inputs=x, weights=jax.random.key(0))
    assert "a random key is read; evaluate the network without randomness" in noisy


def test_primitives_are_those_of_this_jax() -> None:
    assert {"conv_general_dilated", "dot_general", "jit", "select_n"} <= set(CONVERTERS)
