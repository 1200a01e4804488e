"""`docs/onnx-ops.md`: the supported ONNX operators, and how many of ONNX's node tests pass.

python -m tests.frontends.onnx_table > docs/onnx-ops.md
"""

from __future__ import annotations

import re
from collections import defaultdict

import onnx

from npuq.frontends.onnx import operators

from .onnx_node_tests import BODIES, NodeTest, node_tests
from .onnx_places import place

REASONS = {
    r"FLOAT8|FLOAT4|INT2|UINT4|quantizelinear_(e\dm\d|float4|u?int2|uint4)": "element types that npuq lacks",
    r"dynamicquantizelinear_expanded": "a quotient that float32 rounds up to a half, and the test up from there",
    r"quantizelinear_blocked": "scales per block",
    r"FLOAT(16)?_to_INT4": "numbers beyond int4's range, which npuq clamps and the test wraps",
    r"STRING|_string": "strings",
    r"1\.12\.0/test_cast(like)?_.*BFLOAT16": "the test's data are not of the types that its model declares",
    r"identity_(opt|sequence)": "sequences and optional values",
    r"training_dropout|_training_mode": "training",
    r"split_to_sequence": "sequences as a network's outputs",
}
"""Why tests of supported operators do not pass, by patterns of their places; the suite proves that no other fails."""


def reason(test: NodeTest) -> str | None:
    """Why a test is known not to pass; None where it must."""
    return next((said for pattern, said in REASONS.items() if re.search(pattern, test.place)), None)


def table() -> str:
    """The document."""
    by_operator: defaultdict[str, list[NodeTest]] = defaultdict(list)
    for test in node_tests():
        by_operator[test.operator].append(test)
    newest = onnx.defs.onnx_opset_version()
    composed = sorted(set(by_operator) - set(operators()) - {BODIES})
    passing = [name for name in composed if any(reason(test) is None for test in by_operator[name])]
    sources = " and ".join(sorted({test.source for test in node_tests()}))
    lines = [
        "# ONNX operators",
        "",
        f"Opsets 7 to {newest} can be read. Definitions are the opsets at which ONNX changed the operator; tests are",
        f"the different ones that ONNX {sources} have for it. `python -m tests.frontends.onnx_table` writes this page.",
        "",
        "An operator runs on the NPU, as integers, or on the host, in float; then the reasons follow that its tests",
        "give: ops of npuq that have no integer form, and rules. They are those of the target `npu` for float32;",
        "computed integers and bools are the host's. The cell is empty where nothing is left to run, or ONNX has no",
        "test. Quantized operators give their scales to those around them (frontends.md). `npuq check` tells where the",
        "layers of a network run.",
        "",
        "| operator | runs on | definitions | passed | of | the rest |",
        "|---|---|---|---:|---:|---|",
        *(_row(name, by_operator[name], newest) for name in operators()),
        "",
        "Control flow ends at import: an If with a known condition is its branch, another one a choice between the",
        "results of both, which must be of one type; a Loop of a known number of iterations and a Scan are unrolled.",
        "Sequences exist at import only: a network's inputs and outputs are tensors.",
        "",
        "Operators that ONNX itself defines by others are replaced by that definition:",
        "",
        "| operator | runs on | definitions | passed | of | the rest |",
        "|---|---|---|---:|---:|---|",
        *(_row(name, by_operator[name], newest) for name in passing),
        "",
        f"Of ONNX's {len(by_operator[BODIES])} written-out definitions that use the operators above alone, "
        f"{_passed(by_operator[BODIES])} pass; the rest: {_rest(by_operator[BODIES])}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, tests: list[NodeTest], newest: int) -> str:
    versions = ", ".join(map(str, definitions(name, newest)))
    return f"| {name} | {place(name, tests)} | {versions} | {_passed(tests)} | {len(tests)} | {_rest(tests)} |"


def _passed(tests: list[NodeTest]) -> int:
    return sum(reason(test) is None for test in tests)


def _rest(tests: list[NodeTest]) -> str:
    return "; ".join(dict.fromkeys(said for test in tests if (said := reason(test)) is not None))


def definitions(name: str, newest: int) -> list[int]:
    """The opsets at which an operator was defined anew, as far as they are in force from opset 7 on."""
    versions = (onnx.defs.get_schema(name, opset) for opset in range(7, newest + 1) if _defined(name, opset))
    return sorted({schema.since_version for schema in versions})


def _defined(name: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(name, opset).deprecated
    except onnx.defs.SchemaError:
        return False


if __name__ == "__main__":
    print(table(), end="")
