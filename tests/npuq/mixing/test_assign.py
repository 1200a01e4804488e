"""Widths that are chosen: the curve against every choice there is, prediction against the simulator, strategies."""

from __future__ import annotations

import json
import math
from itertools import product

import jax
import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, TensorType
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.elementwise import Abs, Add
from npuq.ir.ops.reduce import ReduceMean
from npuq.mixing.assign import Assignment, two_widths
from npuq.mixing.mixing import Mixing, labelled
from npuq.passes.calibration.samples import Reservoir
from npuq.passes.mixed.hessian import predicted_rise
from npuq.passes.mixed.points import Place
from npuq.passes.target import load_target
from npuq.quantization.calibrated import calibrate

X = np.random.default_rng(1).normal(size=(12, 3, 6, 6)).astype(np.float32)


def build() -> Graph:
    """Six ops, one of them the sum of two others that share a width."""
    generator = np.random.default_rng(0)
    builder = Builder("net")

    def conv(x: str, inputs: int, outputs: int, name: str) -> str:
        weights = generator.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)
        bias = generator.normal(size=outputs).astype(np.float32)
        op = Conv(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
        return builder.add(op, x, builder.constant(weights), builder.constant(bias), name=name)

    a = conv(builder.input("x", TensorType(DType.F32, (1, 3, 6, 6))), 3, 4, "a")
    e = builder.add(Add(), a, conv(a, 4, 4, "d"), name="e")
    p = builder.add(ReduceMean(axes=(2, 3), keep=False), conv(e, 4, 8, "f"), name="p")
    y = builder.add(MatMul(), p, builder.constant(generator.normal(size=(8, 5)).astype(np.float32)), name="y")
    return builder.build({"y": y})


@pytest.fixture(scope="module")
def net() -> Graph:
    return build()


@pytest.fixture(scope="module")
def optimal(net: Graph) -> Assignment:
    return npuq.assign(net, X, ratio=0.5, points=3)


@pytest.fixture(scope="module")
def mixing(net: Graph) -> Mixing:
    few = Reservoir(4)
    calibrated = calibrate(net, labelled(net, X, few, None))
    return Mixing(calibrated, few, *two_widths(load_target("npu")), lambda *told: None)


def sqnr(wanted: np.ndarray, given: np.ndarray) -> float:
    return 10 * math.log10(np.square(wanted, dtype=np.float64).sum() / np.square(wanted - given).sum())


def test_the_curve_equals_brute_force(mixing: Mixing) -> None:
    """Each choice's error is counted here from the noise of the points alone: at what it makes, reads, and knows."""
    units, points, noise = mixing.units, mixing.variants.points, mixing.noise()
    at = dict(zip(points, noise.tolist(), strict=True))
    floor = mixing.variants.error(np.zeros(len(points), bool))

    def error(low: set[str]) -> float:
        total = floor
        for point, added in at.items():
            narrow = point.unit in low
            if point.place is Place.READ:
                narrow = narrow and units.sources[point.value] not in low
            readers = [unit.name for unit in units if point.value in unit.reads]
            if point.place is Place.MADE and len(readers) == 1 and point.value not in units.graph.returned:
                narrow = narrow or readers[0] in low
            total += added * narrow
        return total

    allowed = []
    for bits in product((True, False), repeat=len(units)):
        low = {name for name, bit in zip(units.by_name, bits, strict=True) if bit}
        if ("a" in low) == ("d" in low):
            allowed.append((len(low), error(low)))
    ratios = [count / len(units) for count in range(len(units) + 1)]
    choices = mixing.choices(mixing.problem(noise, "ops"), ratios)
    errors = [choice.predicted for choice in choices if choice.predicted is not None]
    assert errors == sorted(errors)
    for count, found in enumerate(errors):
        assert found == pytest.approx(min(one for size, one in allowed if size >= count), rel=1e-5)


def test_the_simulator_confirms_the_prediction(optimal: Assignment) -> None:
    """Within two decibels, over fifty of them."""
    assert [choice.ratio for choice in optimal.curve] == [0.0, 0.5, 1.0]
    for choice in optimal.curve:
        assert choice.predicted is not None
        assert choice.measured is not None
        assert abs(10 * math.log10(choice.predicted / choice.measured)) < 2
    first, chosen, last = optimal.curve
    assert (first.narrow_ops, chosen.narrow_ops, last.narrow_ops) == (0.0, 0.5, 1.0)
    assert first.measured is not None
    assert last.measured is not None
    assert first.measured < 1e-7 < 1e-5 < last.measured
    assert first.cycles is not None
    assert last.cycles is not None
    assert first.cycles > last.cycles
    assert optimal.wide_ops == 0.5
    assert list(optimal.noise.values()) == sorted(optimal.noise.values(), reverse=True)


def test_the_chosen_widths_are_those_of_the_program(net: Graph, optimal: Assignment) -> None:
    quantized = npuq.quantize(net, X, precision=optimal.precision)
    wide = {name for name, precision in optimal.precision.items() if precision.bits == 16}
    assert len(wide) == 3
    types = {name: quantized.graph.types[quantized.lowered.values[name].name].dtype for name in optimal.precision}
    assert types == {name: DType.I16 if name in wide else DType.I8 for name in optimal.precision}


def test_neither_order_nor_batches_matter(net: Graph, optimal: Assignment) -> None:
    again = npuq.assign(net, (X[::-1][at : at + 3] for at in range(0, len(X), 3)), ratio=0.5, points=3)
    assert again == optimal


def test_templates_carry_an_assignment(net: Graph, optimal: Assignment) -> None:
    text = npuq.write_template(net, optimal.precision)
    assert list(json.loads(text)) == ["a", "d", "e", "f", "p", "y"]
    modes = {8: "kl_v2", 16: "min_max"}
    wanted = {name: npuq.Precision(one.bits, modes[one.bits or 0]) for name, one in optimal.precision.items()}
    assert npuq.read_template(text, net) == wanted


def test_cycles_count_conversions(mixing: Mixing) -> None:
    problem = mixing.problem(mixing.noise(), "cycles")
    assert problem.conversions
    assert problem.span > 0
    (half,) = mixing.choices(problem, [0.5])
    assert half.saved >= 0.5 - 1e-5


def test_traces_predict_what_is_measured(mixing: Mixing) -> None:
    """Without a loss both give the error of the outputs: one by derivatives, one by rounding.

    Not so for weights: theirs is one error and no random one, and a corrected bias takes a part of it.
    """
    rises, noise = predicted_rise(mixing.variants, probes=64), mixing.noise()
    rounded = np.asarray([point.place is not Place.KNOWN for point in mixing.variants.points])
    ratios = rises[rounded] / noise[rounded]
    assert 0.3 < ratios.min() <= ratios.max() < 3
    assert 0.75 < np.median(ratios) < 1.33


def test_hawq_takes_a_loss_with_labels(net: Graph) -> None:
    """What a loss of the first output alone sees is the same whatever the others are."""
    labels = np.arange(len(X)) % 5

    def cross_entropy(outputs: tuple[jax.Array, ...], label: jax.Array) -> jax.Array:
        return -jax.nn.log_softmax(outputs[0])[0, label]

    found = npuq.assign(net, X, strategy="hawq", loss=cross_entropy, labels=labels, points=2, count=2, ratio=0.0)
    assert found.notes == ()
    assert sorted(found.noise) == sorted(found.precision)
    assert max(found.noise.values()) > 0
    with pytest.raises(npuq.NpuqError, match="labels: 3 for more samples; one for each wanted"):
        npuq.assign(net, X, strategy="hawq", loss=cross_entropy, labels=[0, 1, 2])
    with pytest.raises(npuq.NpuqError, match="labels: 13 for 12 samples; one for each wanted"):
        npuq.assign(net, X, strategy="hawq", loss=cross_entropy, labels=list(range(13)))


def test_auto_raises_ops_until_the_wanted_sqnr_holds(net: Graph, optimal: Assignment) -> None:
    """Half way, in decibels, between half of the ops narrow and all of them."""
    half, all_ = (choice.measured or 0.0 for choice in optimal.curve[1:])
    wanted = -5 * math.log10(half * all_)
    steps: list[str] = []
    found = npuq.assign(net, X, strategy="auto", sqnr=wanted, progress=lambda step, done, total: steps.append(step))
    assert steps.count("trying choices") == len(found.curve)
    assert found.noise == optimal.noise
    assert found.chosen.measured is not None
    assert -10 * math.log10(found.chosen.measured) >= wanted
    assert 0 < found.wide_ops <= 0.5
    assert found.chosen in found.curve
    narrower = [choice.measured for choice in found.curve if choice.narrow_ops > found.chosen.narrow_ops]
    assert narrower
    assert all(error is not None and -10 * math.log10(error) < wanted for error in narrower)


def test_auto_takes_a_metric(net: Graph) -> None:
    asked = []

    def narrow_inputs(quantized: npuq.Quantized) -> float:
        asked.append(quantized)
        return float(all(type_.dtype is DType.I8 for type_ in quantized.graph.input_types))

    found = npuq.assign(net, X, strategy="auto", metric=narrow_inputs, at_least=1.0, count=1)
    assert found.wide_ops == 0
    assert len(asked) == 1


def test_auto_measures_no_op_alone_where_an_end_of_the_curve_decides(net: Graph, optimal: Assignment) -> None:
    steps: list[str] = []

    def told(step: str, done: int, total: int) -> None:
        steps.append(step)

    last = optimal.curve[-1]
    assert last.measured is not None
    found = npuq.assign(net, X, strategy="auto", sqnr=-10 * math.log10(last.measured) - 0.1, progress=told)
    assert found.precision == last.precision
    assert found.ops == optimal.ops
    assert found.chosen.measured == last.measured
    assert found.noise == {}
    assert found.notes == ("with every op narrow it is good enough, so no op was measured alone",)
    tried: list[npuq.Quantized] = []

    def never(quantized: npuq.Quantized) -> float:
        tried.append(quantized)
        return 0.0

    with pytest.raises(npuq.NpuqError, match="strategy auto: with every op wide, the metric is too low; ask for less"):
        npuq.assign(net, X, strategy="auto", metric=never, at_least=1.0, count=1, progress=told)
    assert [one.graph.input_types[0].dtype for one in tried] == [DType.I8, DType.I16]
    with pytest.raises(npuq.NpuqError, match=r"auto: with every op wide, the SQNR is \d\d\.\d dB; ask for less"):
        npuq.assign(net, X, strategy="auto", sqnr=200.0, count=1, progress=told)
    assert set(steps) == {"calibrating", "trying choices"}


def test_the_ends_can_be_wide_without_data(net: Graph) -> None:
    """Whatever is tied to an end is raised with it."""
    wide = {name for name, one in npuq.assign(net, strategy="iohigh", ratio=0.5).precision.items() if one.bits == 16}
    assert wide == {"a", "d", "y"}
    initial = npuq.assign(net, strategy="initial")
    assert {one.bits for one in initial.precision.values()} == {8}
    assert (initial.wide_ops, initial.notes) == (0, ())
    assert npuq.assign(net, strategy="initial", effort=2).notes == (
        "effort high has no effect: strategy initial measures nothing; npuq.quantize takes it",
    )


def test_ends_that_rules_join_to_all_others_stay_narrow_with_a_note(net: Graph) -> None:
    builder = Builder("joined")
    weights = builder.constant(np.ones((4, 4), np.float32))
    x = builder.add(MatMul(), builder.input("x", TensorType(DType.F32, (1, 4))), weights, name="a")
    builder.add(Abs(), x, name="b")
    graph = builder.build({"c": builder.add(MatMul(), "b", weights, name="c")})
    found = npuq.assign(graph, strategy="iohigh", ratio=0.5)
    assert (found.wide_ops, found.notes) == (
        0,
        (
            "no op is wide: rules give the first and the last op the widths of others, and at ratio 0.5 2 of 3 stay "
            "narrow; give a lower ratio",
        ),
    )
    found = npuq.assign(graph, strategy="iohigh", ratio=0.0)
    assert (found.wide_ops, found.notes) == (1, ())
    assert npuq.assign(net, strategy="iohigh", ratio=0.9).notes == ()


def test_a_loss_is_one_number(net: Graph) -> None:
    with pytest.raises(npuq.NpuqError, match=r"^loss: it gives an array \[1, 5\], a single number wanted"):
        npuq.assign(net, X[:1], strategy="hawq", loss=lambda outputs: outputs[0], points=2, count=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "there is no strategy 'best'; there are optimal, hawq, auto, iohigh, initial"),
        ({"saving": "watts"}, "saving 'watts'; there are ops, cycles, bytes"),
        ({"ratio": 1.5}, r"ratio 1\.5, 0 to 1 wanted"),
        ({"ratio": "half"}, "ratio: 'half', a number wanted"),
        ({"strategy": "hawq", "loss": 3}, "loss: 3, a function wanted"),
        ({"count": 0}, "count 0: at least 1 sample to measure with wanted"),
        ({"points": 1}, "a curve of 1 points, at least 2 wanted"),
        ({"metric": float}, "metric and at_least belong together"),
        ({"metric": float, "at_least": 1.0}, "metric: strategy optimal does not use it; auto does"),
        ({"labels": [1]}, "labels: strategy optimal does not use it; hawq does"),
        ({"strategy": "hawq", "labels": [1]}, "labels: only a loss takes them; give one, or leave them out"),
        ({"bits": 8}, "bits: strategy optimal does not use it; initial does"),
        ({"strategy": "initial", "bits": 12}, "npu has no activations of 12 bits; it has 8 and 16"),
        ({"strategy": "initial", "method": "foo"}, "there is no calibration method 'foo'; there are min_max, "),
        ({"strategy": "auto"}, "strategy auto: sqnr, or metric with at_least, says when to stop; one of them wanted"),
        ({}, "strategy optimal: it measures, and needs data"),
    ],
)
def test_wrong_options_are_named(net: Graph, options: dict[str, object], message: str) -> None:
    with pytest.raises(npuq.NpuqError, match=message):
        npuq.assign(net, **options)  # type: ignore[arg-type]  # wrong on purpose
