"""The measures of two networks on the same data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npuq.comparison.compare import compare
from npuq.comparison.measures import Tally
from npuq.comparison.selection import bands, index_ranges, selected
from npuq.ir import Builder, Graph, NpuqError, Op, parse_type
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.elementwise import Add, Identity, Neg
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.reduce import ArgMax
from npuq.ir.ops.shape import Transpose


def tally(*pairs: tuple[list[float], list[float]]) -> Tally:
    found = Tally()
    for reference, tested in pairs:
        found.add(np.array(reference), np.array(tested))
    return found


def test_measures_of_known_numbers() -> None:
    found = tally(([1, -2, 4, 8], [1, -2.1, 5, 5])).measures
    assert found.mean_relative == pytest.approx((0.1 + 1 + 3) / 15)
    error, reference, tested = 0.01 + 1 + 9, 85, 1 + 4.41 + 50
    assert found.rmse == pytest.approx(math.sqrt(error / reference))
    assert found.cosine == pytest.approx(50 + 50 * (1 + 4.2 + 20 + 40) / math.sqrt(reference * tested))
    assert found.most_relative == pytest.approx(3 / 8)
    assert found.most_absolute == 3
    assert (found.above, found.below) == (0.25, 0.5)
    assert found.bands == (0.25, 0.25, 0.5, 0, 0)
    assert found.elements == 4


def test_batches_add_up() -> None:
    generator = np.random.default_rng(0)
    reference, tested = generator.normal(size=(2, 60))
    whole = tally((list(reference), list(tested))).measures
    halves = [(list(reference[part]), list(tested[part])) for part in (slice(0, 25), slice(25, 60))]
    parts = tally(*halves).measures
    assert parts.bands == whole.bands
    for name in ("mean_relative", "cosine", "rmse", "most_relative", "most_absolute", "above", "below"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))


@pytest.mark.parametrize(
    ("reference", "tested", "mean_relative", "cosine", "bands"),
    [
        ([0, 0], [0, 0], 0, 100, (1, 0, 0, 0, 0)),
        ([0, 0], [0, 1], math.inf, 50, (0.5, 0, 0, 0, 0.5)),
        ([1, 1], [0, 0], 1, 50, (0, 0, 0, 0, 1)),
        ([1, 1], [-1, -1], 2, 0, (0, 0, 0, 0, 1)),
        ([1, 1], [math.nan, 1], math.nan, math.nan, (0.5, 0, 0, 0, 0.5)),
    ],
)
def test_zeros_and_what_is_no_number(
    reference: list[float], tested: list[float], mean_relative: float, cosine: float, bands: tuple[float, ...]
) -> None:
    found = tally((reference, tested)).measures
    assert found.mean_relative == pytest.approx(mean_relative, nan_ok=True)
    assert found.cosine == pytest.approx(cosine, nan_ok=True)
    assert found.bands == bands


def test_small_references_do_not_count_among_the_greatest_errors() -> None:
    found = tally(([1e-7, -2], [5, -2.5])).measures
    assert (found.most_relative, found.most_absolute) == (0.25, 0.5)


def network(*steps: tuple[str, Op], shape: str = "f32[1,3,4,4]", output: str = "") -> Graph:
    builder = Builder("net")
    value = builder.input("x", parse_type(shape))
    for name, op in steps:
        value = builder.add(op, value, name=name)
    return builder.build({output or value: value})


DATA = np.random.default_rng(1).normal(size=(5, 3, 4, 4)).astype(np.float32)


def test_values_belong_together_by_name_in_the_order_of_the_reference() -> None:
    one = network(("a", Relu()), ("b", Neg()), ("only_here", Identity()))
    other = network(("b", Neg()), ("a", Relu()), ("only_there", Identity()))
    found = compare(one, other, [{"x": DATA[:2]}, {"x": DATA[2:]}])
    assert [(row.name, row.op, row.accumulated.elements) for row in found] == [("a", "relu", 240), ("b", "neg", 240)]
    assert found[0].accumulated.mean_relative > 0


def test_quantized_values_are_compared_as_reals_behind_their_pair() -> None:
    pair = (("a.q", Quantize(scales=(0.5,), zero_points=(3,))), ("a.dq", Dequantize(scales=(0.5,), zero_points=(3,))))
    one, other = network(("a", Relu())), network(("a", Relu()), *pair)
    (row,) = compare(one, other, [{"x": DATA}])
    rounded = np.rint(np.maximum(DATA, 0) / 0.5) * 0.5
    assert row.accumulated.mean_relative == pytest.approx(
        np.abs(rounded - np.maximum(DATA, 0)).sum() / np.maximum(DATA, 0).sum()
    )
    integers = network(("a", Quantize(scales=(0.5,), zero_points=(3,))))
    floats = network(("a", Identity()))
    (row,) = compare(floats, integers, [{"x": DATA}])
    assert 0 < row.accumulated.rmse < 0.5


@pytest.mark.parametrize(
    ("shape", "order"), [("f32[1,3,4,4]", (0, 2, 3, 1)), ("f32[1,4,4,4]", (0, 2, 3, 1)), ("f32[1,4,4,3]", (0, 3, 1, 2))]
)
def test_axes_that_a_backend_moved_are_moved_back(shape: str, order: tuple[int, ...]) -> None:
    one = network(("a", Neg()), shape=shape)
    other = network(("n", Neg()), ("a", Transpose(order=order)), shape=shape)
    x = np.random.default_rng(2).normal(size=one.input_types[0].shape).astype(np.float32)
    (row,) = compare(one, other, [{"x": x}])
    assert row.accumulated.mean_relative == 0


def test_progress_counts_samples() -> None:
    seen: list[int] = []
    graph = network(("a", Relu()))
    compare(graph, graph, [{"x": DATA[:2]}, {"x": DATA[2:]}], progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


def test_networks_that_cannot_be_compared() -> None:
    one = network(("a", Relu()))
    with pytest.raises(NpuqError, match=r"^the inputs differ: net takes f32\[1,3,4,4\], net takes f32\[1,5\]$"):
        compare(one, network(("a", Relu()), shape="f32[1,5]"), [])
    with pytest.raises(NpuqError, match=r"^net, net: no value has the same name and size in both$"):
        compare(one, network(("b", Clip(low=0.0))), [])
    with pytest.raises(NpuqError, match="no value has the same name"):
        compare(one, network(("a", ArgMax(axis=1))), [])


def test_an_op_that_reads_a_value_twice() -> None:
    builder = Builder("net")
    x = builder.input("x", parse_type("f32[1,3,4,4]"))
    a = builder.add(Relu(), x, name="a")
    graph = builder.build({"s": builder.add(Add(), a, a, name="s")})
    assert [row.accumulated.mean_relative for row in compare(graph, graph, [{"x": DATA}])] == [0, 0]


def test_a_layer_alone_reads_the_references_values() -> None:
    """The second layer inherits the first one's error, but alone it adds none."""
    one = network(("a", Relu()), ("b", Neg()))
    other = network(("a", Clip(low=0.0, high=0.5)), ("b", Neg()))
    a, b = compare(one, other, [{"x": DATA}], alone=True)
    assert a.alone == a.accumulated
    assert b.accumulated.rmse == pytest.approx(a.accumulated.rmse)
    assert b.alone is not None
    assert (b.alone.rmse, b.alone.sqnr_db) == (0, math.inf)


def test_alone_operands_are_rounded_to_what_the_layer_reads() -> None:
    pair = (("a.q", Quantize(scales=(0.5,), zero_points=(3,))), ("a.dq", Dequantize(scales=(0.5,), zero_points=(3,))))
    one, other = network(("a", Relu()), ("b", Neg())), network(("a", Relu()), *pair, ("b", Neg()))
    _, b = compare(one, other, [{"x": DATA}], alone=True)
    exact = np.maximum(DATA, 0)
    rounded = np.clip(np.rint(exact / 0.5), -131, 124) * 0.5
    assert b.alone is not None
    assert b.alone.rmse == pytest.approx(math.sqrt(np.square(rounded - exact).sum() / np.square(exact).sum()))


def test_alone_follows_moved_axes_of_integers() -> None:
    one = network(("a", Clip(low=-1.0, high=1.0)), ("b", Neg()))
    steps = (("t", Transpose(order=(0, 2, 3, 1))), ("c", Clip(low=-1.0, high=1.0)), ("a", Quantize(scales=(2**-6,))))
    other = network(*steps, ("d", Dequantize(scales=(2**-6,))), ("b", Neg()))
    a, b = compare(one, other, [{"x": DATA}], alone=True)
    assert a.alone == a.accumulated
    assert b.alone is not None
    assert 0 < b.alone.rmse < 0.02


def test_rows_are_chosen_and_sorted() -> None:
    one = network(("a", Relu()), ("b", Neg()), ("c", Identity()))
    other = network(("a", Clip(low=0.0, high=0.5)), ("b", Clip(low=-0.1, high=0.0)), ("c", Identity()))
    found = compare(one, other, [{"x": DATA}], alone=True)
    assert [row.name for row in selected(found, sort="index")] == ["a", "b", "c"]
    assert selected(found, sort="alone-sqnr")[-1].name == "c"
    assert [row.name for row in selected(found, ops=["neg"])] == ["b"]
    assert [row.name for row in selected(found, sort="index", indexes=index_ranges("0,2-"))] == ["a", "c"]
    assert [row.name for row in selected(found, layers=["c"])] == ["c"]
    worst = [row.accumulated.most_absolute for row in selected(found, sort="most-absolute")]
    assert worst == sorted(worst, reverse=True)


def test_choices_that_cannot_be_made() -> None:
    graph = network(("a", Relu()))
    found = compare(graph, graph, [{"x": DATA}])
    with pytest.raises(NpuqError, match=r"^no compared op is called 'conv'; there are relu$"):
        selected(found, ops=["conv"])
    with pytest.raises(NpuqError, match=r"^no compared layer is called 'z'; there are a$"):
        selected(found, layers=["z"])
    with pytest.raises(NpuqError, match=r"^no compared layer is at these places of the reference; there are 0$"):
        selected(found, indexes=index_ranges("100-"))
    with pytest.raises(NpuqError, match=r"^there is no measure 'size'; there are index, mean-relative, "):
        selected(found, sort="size")
    with pytest.raises(NpuqError, match=r"^alone-sqnr: the layers were not measured alone; add --alone$"):
        selected(found, sort="alone-sqnr")
    with pytest.raises(NpuqError, match=r"^3-x: places in the program wanted, as in 0-7,12,17-$"):
        index_ranges("3-x")
    for text in ("10,1", "a", "0,5"):
        with pytest.raises(NpuqError, match=r"rising percents wanted, as in 1,10,50,100$"):
            bands(text)


def test_bands_have_the_borders_that_are_asked_for() -> None:
    one, other = network(("a", Identity())), network(("a", Clip(low=0.0)))
    (row,) = compare(one, other, [{"x": DATA}], bands=bands("0.5,50"))
    positive = float((DATA >= 0).mean())
    assert row.accumulated.bands == pytest.approx((positive, 0, 1 - positive))
