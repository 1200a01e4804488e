"""The public surface: these names and no others, with these signatures, each in the guide."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npuq

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"
RECIPE = (
    "method=None, bits=None, weight_bits=None, precision=None, lut_len=None, percentile=0.99999, "
    "unify_input_scale=False, layer_threshold=None, input_dtype=None, "
    "effort='standard', scales=None, mean=None, std=None"
)
FUNCTIONS = {
    "Effort": "name, number, corrects_bias=False, equalizes=False, learns_rounding=False",
    "Effort.of": "spelling",
    "Observer": "graph, recipe=None, *, target='npu', parts=4, **options",
    "Observer.add": "self, *batch",
    "Observer.add_all": "self, data, progress=None",
    "Observer.merge": "self, other",
    "Observer.result": "self",
    "Precision": "bits=None, method=None, weight_bits=None",
    "Calibrated.quantize": "self, precision=None, *, after_pass=None, **options",
    "Program.load": "path",
    "Program.save": "self, path",
    "Program.run": "self, *inputs, raw=False",
    "Program.verify": "self",
    "Program.disassemble": "self",
    "Program.cost": "self",
    "Quantized.simulate": "self, *inputs, raw=False, **named",
    "Quantized.save_scales": "self, path",
    "Quantized.measure": "self, progress=<function>",
    "Quantized.dump": "self, folder, samples=1",
    "Recipe": f"*, {RECIPE}",
    "Recipe.load": "path",
    "Recipe.save": "self, path",
    "assign": "graph, data=None, *, strategy='optimal', ratio=0.5, sqnr=None, metric=None, at_least=None, loss=None, "
    "labels=None, saving='ops', points=11, count=8, target='npu', method=None, bits=None, lut_len=None, "
    "percentile=0.99999, effort='standard', mean=None, std=None, progress=None",
    "calibrate": "graph, data=None, recipe=None, *, target='npu', every_width=True, statistics=None, after_pass=None, "
    "progress=None, **options",
    "chain": "*passes",
    "cost_of": "network, target=None, *, bits=None",
    "dump_to": "folder",
    "enable_cache": "folder=None",
    "evaluate": "graph",
    "load": "source, shapes=None, *, channels_first=False, **options",
    "load_target": "name_or_path",
    "quantize": "graph, data=None, recipe=None, *, target='npu', after_pass=None, progress=None, **options",
    "read_template": "text, graph, *, target='npu', bits=None, place='template'",
    "targets": "",
    "verify_import": "graph, source, data=None, *, shapes=None, channels_first=False, tolerance=None, **options",
    "write_template": "graph, precision, *, target='npu', method=None",
}
OPAQUE = {"Assignment", "Calibrated", "NpuqError", "Program", "Quantized"}
"""Classes that functions make; their fields are for reading."""


def signature(function: Callable[..., Any]) -> str:
    """Names and defaults."""

    def plain(parameter: inspect.Parameter) -> inspect.Parameter:
        default = parameter.default
        if isinstance(default, npuq.Effort):
            parameter = parameter.replace(default=default.name)
        return parameter.replace(annotation=parameter.empty)

    found = inspect.signature(function)
    text = str(found.replace(parameters=[*map(plain, found.parameters.values())], return_annotation=found.empty))[1:-1]
    return text if " at 0x" not in text else f"{text.partition('=')[0]}=<function>"


def test_these_are_the_public_names() -> None:
    assert set(npuq.__all__) == {name for name in FUNCTIONS if "." not in name} | OPAQUE
    assert npuq.__all__ == sorted(npuq.__all__)
    assert all(getattr(npuq, name).__doc__ for name in npuq.__all__)


def test_these_are_their_signatures() -> None:
    found = {}
    for name in FUNCTIONS:
        value: Any = npuq
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = signature(value)
    assert found == FUNCTIONS


def test_recipes_and_options_have_the_same_fields() -> None:
    from npuq.quantization.recipe import RecipeOptions

    assert list(RecipeOptions.__annotations__) == [part.partition("=")[0] for part in RECIPE.split(", ")]


def test_the_guide_names_them_all() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert [name for name in npuq.__all__ if f"`npuq.{name}" not in text] == []
