"""Recipes: values that files hold, the same however they are given, and what they make is made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, NpuqError, TensorType
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import MatMul
from npuq.passes.precision import Precision
from npuq.quantization.calibrated import calibrate
from npuq.quantization.recipe import EFFORTS, Effort, Recipe

DATA = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
FULL = Recipe(
    method="mse",
    bits=16,
    weight_bits=8,
    precision={"m": Precision(8, "kl")},
    lut_len=9,
    percentile=0.9,
    unify_input_scale=True,
    layer_threshold=4.0,
    input_dtype=["uint8"],
    effort="high",
    scales={"x": {"scale": 0.5}},
    mean=[1.0, 2.0],
    std=3.0,
)
NUMPY: Mapping[str, Any] = {
    "bits": np.int64(8),
    "precision": {"m": Precision(np.int64(16))},  # type: ignore[arg-type]  # an integer like others
    "lut_len": np.int32(9),
    "percentile": np.float32(0.75),
    "unify_input_scale": np.True_,
    "scales": {"x": [{"scale": np.float64(0.5)}]},
    "mean": np.array([1.0, 2.0]),
}


def net() -> Graph:
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 6)))
    w = builder.constant(np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32), "w")
    return builder.build({"y": builder.add(Relu(), builder.add(MatMul(), x, w, name="m"), name="y")})


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize("recipe", [Recipe(), FULL, Recipe(**NUMPY)], ids=["defaults", "full", "numpy"])
def test_a_file_holds_a_recipe(tmp_path: Path, suffix: str, recipe: Recipe) -> None:
    recipe.save(tmp_path / f"r.{suffix}")
    assert Recipe.load(tmp_path / f"r.{suffix}") == recipe


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"mean": np.array([1.0, 2.0])}, {"mean": [1.0, 2.0]}),
        ({"std": np.array(2.0)}, {"std": 2.0}),
        ({"input_dtype": ("uint8", "int8")}, {"input_dtype": ["uint8", "int8"]}),
        ({"scales": Path("a.json")}, {"scales": "a.json"}),
        ({"precision": {"m": {"bits": 16}}}, {"precision": {"m": Precision(16)}}),
        ({"unify_input_scale": np.True_}, {"unify_input_scale": True}),
    ],
)
def test_spellings_of_an_option_are_equal(given: Mapping[str, Any], same: Mapping[str, Any]) -> None:
    assert Recipe(**given) == Recipe(**same) != Recipe()


@pytest.mark.parametrize(
    ("name", "recipe", "message"),
    [
        ("r.toml", Recipe(scales={"a": {"scale": None}}), "scales hold what cannot be written; give numbers, strings"),
        ("r.json", Recipe(scales={"a": {"scale": 1j}}), "scales hold what cannot be written; give numbers, strings"),
        ("r.json", Recipe(effort=Effort("high", 2)), r"effort Effort\(.*\) cannot be written; minimal \(0\), standard"),
    ],
)
def test_what_has_no_text_is_not_written(tmp_path: Path, name: str, recipe: Recipe, message: str) -> None:
    with pytest.raises(NpuqError, match=f"{name}: {message}"):
        recipe.save(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_options_of_another_type_are_refused() -> None:
    with pytest.raises(NpuqError, match=r"^npu has no activations of 0 bits; it has 8 and 16$"):
        npuq.quantize(net(), DATA, bits=0)
    with pytest.raises(NpuqError, match=r"^precision of m: 16, a Precision wanted"):
        calibrate(net(), DATA).quantize({"m": 16})  # type: ignore[dict-item]  # wrong on purpose
    with pytest.raises(NpuqError, match=r"^recipe: \{'bits': 8\}, a Recipe wanted; give options by name, or a file"):
        npuq.quantize(net(), DATA, {"bits": 8})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.toml", "bits = ", "cannot be read as a recipe"),
        ("r.json", "[" * 100000, "cannot be read as a recipe"),
        ("r.json", "[1]", "no table: a recipe has method, bits"),
        ("r.toml", "bit = 8", "bit: a recipe has method, bits"),
        ("r.toml", 'bits = "8"', "bits: '8', a whole number wanted"),
        ("r.toml", 'effort = "low"', r"effort 'low'; one of minimal \(0\), standard \(1\), high \(2\) wanted"),
        ("r.toml", "precision = 1", "precision: 1, Precision by the names of nodes wanted"),
        ("r.toml", "precision = {m = 16}", "precision of m: 16, a Precision wanted; it has bits, method, weight_bits"),
        ("r.toml", "precision = {m = {bit = 8}}", "precision of m: {'bit': 8}, a Precision wanted; it has bits"),
        ("r.toml", "precision = {m = {bits = 16.0}}", "precision of m: bits: 16.0, a whole number wanted"),
        ("r.toml", "precision = {m = {method = 1}}", "precision of m: method: 1, one of min_max, percentile"),
        ("r.toml", "mean = [[1, 2], [3]]", r"mean: \(\[1, 2\], \[3\]\), numbers wanted"),
        ("r.toml", "method = 1", "method: 1, one of min_max, percentile, mse, kl, kl_v2 wanted"),
        ("r.toml", "unify_input_scale = 'yes'", "unify_input_scale: 'yes', true or false wanted"),
        ("r.json", '{"unify_input_scale": null}', "unify_input_scale: None, true or false wanted"),
        ("r.toml", "input_dtype = [['int8']]", r"input_dtype: \(\['int8'\],\), a type's name, or one for each input"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NpuqError, match=message) as caught:
        Recipe.load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_efforts_have_names_and_numbers() -> None:
    assert [Effort.of(spelling) for spelling in (0, "1", "high")] == list(EFFORTS)
    assert Recipe(effort=2) == Recipe(effort="high") == Recipe(effort=EFFORTS[2])
    with pytest.raises(NpuqError, match=r"^effort True; one of"):
        Recipe(effort=True)


def test_a_recipe_and_options_are_the_same() -> None:
    one = npuq.quantize(net(), DATA, Recipe(bits=16, method="mse"))
    assert one.program.bytes == npuq.quantize(net(), DATA, bits=16, method="mse").program.bytes
    assert one.program.bytes == npuq.quantize(net(), DATA, Recipe(bits=8, method="mse"), bits=16).program.bytes


def test_every_method_and_width_comes_from_one_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[dict[str, Any]] = [
        {"bits": 16},
        {"method": "min_max"},
        {"method": "kl", "effort": 0},
        {"weight_bits": 4},
    ]
    wanted = [npuq.quantize(net(), DATA, **way).program.bytes for way in ways]
    calibrated = calibrate(net(), DATA)
    monkeypatch.setattr("npuq.passes.calibration.collect_statistics.observe", None)
    assert [calibrated.quantize(**way).program.bytes for way in ways] == wanted
    with pytest.raises(NpuqError, match="part of the calibration"):
        calibrated.quantize(effort="high")


def test_statistics_are_read_where_they_are_and_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.stats.npz"
    one = calibrate(net(), DATA, statistics=file)
    monkeypatch.setattr("npuq.passes.calibration.collect_statistics.observe", None)
    two = calibrate(net(), DATA[::-1], statistics=file)
    assert one.quantize().program.bytes == two.quantize().program.bytes
    with pytest.raises(NpuqError, match="statistics of another data"):
        calibrate(net(), DATA[1:], statistics=file)
    with pytest.raises(NpuqError, match="statistics of another graph"):
        calibrate(net(), DATA, statistics=file, mean=1.0)
    assert calibrate(net(), statistics=file).quantize().graph == one.quantize().graph
    with pytest.raises(NpuqError, match="effort high reads each sample twice"):
        calibrate(net(), statistics=file, effort="high")


def test_an_observer_writes_and_checks_a_file_as_data_do(tmp_path: Path) -> None:
    observer, file = npuq.Observer(net()), tmp_path / "net.stats.npz"
    observer.add(DATA)
    wanted = calibrate(net(), observer, statistics=file).quantize().program.bytes
    assert calibrate(net(), DATA, statistics=file).quantize().program.bytes == wanted
    assert calibrate(net(), observer, statistics=file).quantize().program.bytes == wanted
    observer.add(DATA[:1])
    with pytest.raises(NpuqError, match="statistics of another data"):
        calibrate(net(), observer, statistics=file)


def test_one_calibration_learns_rounding_from_all_its_samples() -> None:
    data = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
    wanted = npuq.quantize(net(), data, effort="high", weight_bits=4).program.bytes
    assert calibrate(net(), data, effort="high").quantize(weight_bits=4).program.bytes == wanted


def test_a_model_with_scales_is_not_calibrated() -> None:
    annotated = npuq.quantize(net(), DATA).graph
    for make in (lambda: calibrate(annotated, DATA), lambda: npuq.Observer(annotated)):
        with pytest.raises(NpuqError, match=r"the model has its own scales; npuq\.quantize takes them over"):
            make()


@pytest.mark.parametrize("effort", EFFORTS, ids=str)
def test_nothing_is_computed_twice(monkeypatch: pytest.MonkeyPatch, effort: Effort) -> None:
    calls: Counter[tuple[str, int]] = Counter()

    def counted(module: str, name: str) -> None:
        function = getattr(__import__(module, fromlist=[name]), name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[name, id(arguments[0])] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(f"{module}.{name}", call)

    counted("npuq.passes.lowering.lower_to_integer", "lower")
    counted("npuq.passes.quantize.insert_fake_quant", "choose_scales")
    counted("npuq.passes.calibration.collect_statistics", "observe")
    quantized = npuq.quantize(net(), DATA, effort=effort)
    assert quantized.report.layers
    assert quantized.scales
    assert quantized.program.bytes
    assert set(calls.values()) == {1}
    names = Counter(name for name, _ in calls)
    # Corrected biases make another graph, whose scales may be others.
    assert names == {"lower": 1, "observe": 1, "choose_scales": 1 + effort.corrects_bias}


def test_the_precision_of_a_recipe_holds_for_every_program_of_a_calibration() -> None:
    recipe = Recipe(precision={"m": Precision(16)})
    wanted = npuq.quantize(net(), DATA, recipe).program.bytes
    calibrated = calibrate(net(), DATA, recipe)
    assert calibrated.quantize().program.bytes == wanted
    assert calibrated.quantize({}).program.bytes == npuq.quantize(net(), DATA).program.bytes != wanted


def test_statistics_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "net.npz"
    with pytest.raises(NpuqError) as caught:
        calibrate(net(), DATA, statistics=file)
    assert str(caught.value) == f"{file}: not written: No such file or directory"
