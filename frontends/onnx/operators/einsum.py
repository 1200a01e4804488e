"""The converter of Einsum: transposes, sums, and a product for each operand after the first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from npuq.ir import ops, require

from ...context import Context, Node
from ..registry import converts

DOTS = "..."


@dataclass(frozen=True, slots=True)
class Term:
    """A value, and one label per axis of it."""

    value: str
    labels: tuple[str, ...]


@converts("Einsum")
def einsum(context: Context, node: Node) -> str:
    """An ellipsis's axes are labelled from the last one, so that they broadcast as in NumPy."""
    operands = node.all_operands()
    equation = node.string("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    require(len(texts) == len(operands), f"equation {equation!r} for {len(operands)} operands")
    ranks = [context.type(name).rank for name in operands]
    labels = [_labels(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    dots = sorted({label for each in labels for label in each if label.startswith(DOTS)}, reverse=True)
    if arrow:
        wanted = tuple(label for part in _parts(right) for label in (dots if part == DOTS else [part]))
    else:
        counts = Counter(label for each in labels for label in each)
        wanted = (*dots, *sorted(label for label, count in counts.items() if count == 1 and label not in dots))
    known = {label for each in labels for label in each}
    require(len(set(wanted)) == len(wanted) and set(wanted) <= known, f"equation {equation!r}: its result")
    terms = _broadcast(context, [Term(*pair) for pair in zip(operands, labels, strict=True)])
    terms = [_diagonal(context, term) for term in terms]
    whole = terms[0]
    for index, term in enumerate(terms[1:], 1):
        later = {label for other in terms[index + 1 :] for label in other.labels}
        whole = _joined(context, whole, term, later | set(wanted))
    return _ordered(context, _summed(context, whole, set(wanted)), wanted).value


def _parts(text: str) -> list[str]:
    """The labels of one side, the ellipsis as one of them."""
    before, dots, after = text.partition(DOTS)
    for label in before + after:
        require(label.isalpha(), f"equation with {label!r}")
    return [*before, *([DOTS] if dots else []), *after]


def _labels(text: str, rank: int) -> tuple[str, ...]:
    parts = _parts(text)
    more = rank - len(parts) + (DOTS in parts)
    require(more == 0 or (more > 0 and DOTS in parts), f"{text!r} for an operand of rank {rank}")
    dots = [f"{DOTS}{place:02}" for place in reversed(range(more))]
    return tuple(label for part in parts for label in (dots if part == DOTS else [part]))


def _broadcast(context: Context, terms: Sequence[Term]) -> list[Term]:
    sizes: dict[str, int] = {}
    for term in terms:
        for label, size in zip(term.labels, context.type(term.value).shape, strict=True):
            have = sizes.setdefault(label, size)
            require(size == have or 1 in (size, have), f"sizes {have} and {size} of {label!r}")
            sizes[label] = size if have == 1 else have
    return [
        term
        if context.type(term.value).shape == (shape := tuple(sizes[label] for label in term.labels))
        else Term(context.add(ops.Expand(shape=shape), term.value), term.labels)
        for term in terms
    ]


def _diagonal(context: Context, term: Term) -> Term:
    """Take the diagonal of axes with one label; it becomes the last axis."""
    label = next((label for label, count in Counter(term.labels).items() if count > 1), None)
    if label is None:
        return term
    first, second = [axis for axis, one in enumerate(term.labels) if one == label][:2]
    rest = [axis for axis in range(len(term.labels)) if axis not in (first, second)]
    shape = context.type(term.value).shape
    size, others = shape[first], tuple(shape[axis] for axis in rest)
    square = context.add(ops.Transpose(order=(*rest, first, second)), term.value)
    flat = context.add(ops.Reshape(shape=(*others, size * size)), square)
    diagonal = context.sliced(flat, [*map(range, others), range(0, size * size, size + 1)])
    return _diagonal(context, Term(diagonal, (*(term.labels[axis] for axis in rest), label)))


def _joined(context: Context, one: Term, two: Term, labels: set[str]) -> Term:
    """Multiply two operands and sum over the labels that occur nowhere else."""
    one, two = _summed(context, one, labels | set(two.labels)), _summed(context, two, labels | set(one.labels))
    shared = [label for label in one.labels if label in two.labels]
    batch = [label for label in shared if label in labels]
    summed = [label for label in shared if label not in labels]
    rows, columns = ([label for label in term.labels if label not in shared] for term in (one, two))
    one, two = _ordered(context, one, (*batch, *rows, *summed)), _ordered(context, two, (*batch, *summed, *columns))
    sizes = dict(
        zip(one.labels + two.labels, context.type(one.value).shape + context.type(two.value).shape, strict=True)
    )
    b, m, k, n = (tuple(sizes[label] for label in labels) for labels in (batch, rows, summed, columns))
    op = ops.MatMul() if summed else ops.Mul()
    left = context.add(ops.Reshape(shape=(*b, math.prod(m), math.prod(k))), one.value)
    right = context.add(ops.Reshape(shape=(*b, math.prod(k), math.prod(n))), two.value)
    product = context.add(op, left, right)
    return Term(context.add(ops.Reshape(shape=(*b, *m, *n)), product), (*batch, *rows, *columns))


def _summed(context: Context, term: Term, labels: set[str]) -> Term:
    """Sum an operand over all other labels."""
    axes = tuple(axis for axis, label in enumerate(term.labels) if label not in labels)
    if not axes:
        return term
    return Term(
        context.add(ops.ReduceSum(axes=axes), term.value), tuple(label for label in term.labels if label in labels)
    )


def _ordered(context: Context, term: Term, labels: tuple[str, ...]) -> Term:
    order = tuple(term.labels.index(label) for label in labels)
    if order == tuple(range(len(labels))):
        return term
    return Term(context.add(ops.Transpose(order=order), term.value), labels)
