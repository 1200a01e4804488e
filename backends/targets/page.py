"""`docs/targets.md`, generated from the targets' files and the docstrings of the constraints.

python -m npuq.backends.targets.page > docs/targets.md
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from npuq.passes.constraints import CONSTRAINTS
from npuq.passes.intervals import accumulator_proven
from npuq.passes.target import Target, Width, load_target, targets

HEAD = """# Targets

A target is a TOML file. `npuq targets` lists those of npuq; `--target my.toml` selects your own. Every field below is
required. An error names a wrong field.

`python -m npuq.backends.targets.page > docs/targets.md` writes this page.
"""

WIDTHS = """
## Widths

Each `[[widths]]` table is one width of activations; the first is the default. `--bits` selects another for all layers;
an `npu.requantize` converts between layers of different widths. A width has its weights, its accumulator and its bias.
`mac_turns` says how many turns of a multiplier a product takes, for each type of weights.
"""

SHIFTS = """
## Multipliers and shifts

A requantization is `y = clamp(((acc * M + 2^(s-1)) >> s) + zero_point)` with M in [2^30, 2^31), or less only at the
greatest shift. The machine's shift register holds q = s - 31 (`npuq.ir.arithmetic.right_shift`): the shift without the
multiplier's 31 fraction bits. `shift_field` bounds q. With q in [0, 31] the shifts s are in [31, 62] and the real
multipliers M / 2^s in [2^-32, 1). An 8-bit layer whose result has a coarser scale than its products needs no others.
Sums and rescalings of activations may need more than 1: they first shift their operands left by up to
`rescale_pre_shift`, which the disassembly writes as a negative q.

Symmetric activations use the whole range of their type. Their scale is max(|low|, |high|) / 127 at 8 bits and / 32767
at 16. Weights exclude the least integer (int8: [-127, 127]), so that their products with activations can be negated.

"""


def targets_page() -> str:
    """Write the page in Markdown: the fields of every target, the meaning of shifts, the rules."""
    loaded = [load_target(name) for name in targets()]
    lines = [
        HEAD,
        f"| field | {' | '.join(f'`{target.name}`' for target in loaded)} |",
        "|---" * (len(loaded) + 1) + "|",
    ]
    for field in fields(Target):
        if field.name not in ("name", "integer_ops", "widths"):
            lines.append(_row(field.name, [getattr(target, field.name) for target in loaded]))
    lines.append(WIDTHS)
    columns = [(target, width) for target in loaded for width in target.widths]
    lines.append(f"| field | {' | '.join(f'`{target.name}`, {width.bits} bits' for target, width in columns)} |")
    lines.append("|---" * (len(columns) + 1) + "|")
    lines += [_row(field.name, [getattr(width, field.name) for _, width in columns]) for field in fields(Width)]
    shared = [name for name in loaded[0].integer_ops if all(name in target.integer_ops for target in loaded)]
    lines.append(f"\nEvery target runs {_names(shared)}.\n")
    for target in loaded:
        lines.append(
            f"* `{target.name}` also runs {_names(name for name in target.integer_ops if name not in shared)}."
        )
    lines.append(SHIFTS + "## Rules\n")
    lines.append(
        "Every instruction that is not marked for the host obeys these rules; a program that violates one is refused.\n"
    )
    for rule in (*CONSTRAINTS, accumulator_proven):
        lines.append(f"* **{rule.__name__.replace('_', ' ')}**: {inspect.cleandoc(rule.__doc__ or '')}")
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing else"


def _row(name: str, values: list[Any]) -> str:
    return f"| `{name}` | {' | '.join(map(_cell, values))} |"


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    print(targets_page(), end="")
