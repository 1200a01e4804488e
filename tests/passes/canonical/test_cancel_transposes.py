"""Transposes vanish in pairs, whatever stands between them, and stay where moving them would not help."""

from __future__ import annotations

import pytest

from npuq.passes.canonical.cancel_transposes import cancel_transposes

from ..rewriting import rewritten, unchanged


def test_a_pair_around_pointwise_ops() -> None:
    rewritten(
        cancel_transposes(),
        """
        graph @g(%x: f32[2,3,4,5]) {
          const %b: f32[3] = [1.0, 2.0, 3.0]
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[2,4,5,3]
          %a = add %t, %b : f32[2,4,5,3]  loc("net:a")
          %r = relu %a : f32[2,4,5,3]
          %y = transpose %r {order=(0, 3, 1, 2)} : f32[2,3,4,5]
          return %y
        }
        """,
        """
        graph @g(%x: f32[2,3,4,5]) {
          const %b.1: f32[1,3,1,1] = [1.0, 2.0, 3.0]
          %a = add %x, %b.1 : f32[2,3,4,5]  loc("net:a")
          %r = relu %a : f32[2,3,4,5]
          return y=%r
        }
        """,
        exact=True,
    )


MOVED = {
    "softmax": ("softmax %t {axis=3}", "2,4,5,3", (0, 3, 1, 2), "2,3,4,5"),
    "reduce_max": ("reduce_max %t {axes=(3,), keep=True}", "2,4,5,1", (0, 3, 1, 2), "2,1,4,5"),
    "pad": ("pad %t {padding=((0, 0), (1, 0), (0, 2), (0, 0))}", "2,5,7,3", (0, 3, 1, 2), "2,3,5,7"),
    "slice": (
        "slice %t {starts=(0, 1, 0, 1), stops=(2, 3, 5, 3), steps=(1, 1, 2, 1)}",
        "2,2,3,2",
        (0, 3, 1, 2),
        "2,2,2,3",
    ),
    "concat": ("concat %t, %t {axis=1}", "2,8,5,3", (0, 3, 1, 2), "2,3,8,5"),
    "resize": (
        'resize %t {shape=(2, 8, 10, 3), scales=(1.0, 2.0, 2.0, 1.0), mode="linear"}',
        "2,8,10,3",
        (0, 3, 1, 2),
        "2,3,8,10",
    ),
    "dropped axes": ("reduce_sum %t {axes=(1, 3)}", "2,5", (0, 1), "2,5"),
    "two orders": ("add %t, %t2", "2,4,5,3", (0, 3, 1, 2), "2,3,4,5"),
}


@pytest.mark.parametrize("name", MOVED)
def test_ops_whose_axes_move_along(name: str) -> None:
    from npuq.ir.ops.shape import Transpose

    from ..rewriting import both, graph

    text, middle, order, after = MOVED[name]
    last = f"%y = transpose %m {{order={order}}} : f32[{after}]" if len(order) == 4 else f"%y = neg %m : f32[{after}]"
    before = graph(
        f"""
        graph @g(%x: f32[2,3,4,5], %z: f32[2,3,4,5]) {{
          %t = transpose %x {{order=(0, 2, 3, 1)}} : f32[2,4,5,3]
          %t2 = transpose %z {{order=(0, 2, 3, 1)}} : f32[2,4,5,3]
          %m = {text} : f32[{middle}]
          {last}
          return %y
        }}
        """.replace('"linear"', "'linear'")
    )
    result = cancel_transposes()(before)
    assert not any(isinstance(node.op, Transpose) for node in result.nodes)
    for one, two in zip(*both(before, result), strict=True):
        assert one.shape == two.shape
        assert abs(one - two).max() <= 1e-6 * abs(one).max()


def test_reshapes_that_add_or_drop_axes_of_one_element() -> None:
    rewritten(
        cancel_transposes(),
        """
        graph @g(%x: f32[1,3,1,5]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[1,1,5,3]
          %s = reshape %t {shape=(1, 5, 3)} : f32[1,5,3]  loc("net:s")
          %r = relu %s : f32[1,5,3]
          %e = reshape %r {shape=(1, 5, 1, 3)} : f32[1,5,1,3]
          %y = transpose %e {order=(0, 3, 1, 2)} : f32[1,3,5,1]
          return %y
        }
        """,
        """
        graph @g(%x: f32[1,3,1,5]) {
          %s = reshape %x {shape=(1, 3, 5)} : f32[1,3,5]  loc("net:s")
          %r = relu %s : f32[1,3,5]
          %e = reshape %r {shape=(1, 3, 1, 5)} : f32[1,3,1,5]
          %y = reshape %e {shape=(1, 3, 5, 1)} : f32[1,3,5,1]
          return %y
        }
        """,
        exact=True,
    )


def test_a_reshape_that_joins_axes_wants_them_in_order() -> None:
    unchanged(
        cancel_transposes(),
        """
        graph @g(%x: f32[1,3,4,5]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[1,4,5,3]
          %s = reshape %t {shape=(1, 60)} : f32[1,60]
          return %s
        }
        """,
    )


def test_one_operand_that_only_moves_axes_of_one_element_costs_nothing() -> None:
    rewritten(
        cancel_transposes(),
        """
        graph @g(%x: f32[1,3,1,5], %z: f32[1,3,5]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[1,1,5,3]
          %u = transpose %z {order=(0, 2, 1)} : f32[1,5,3]
          %e = reshape %u {shape=(1, 1, 5, 3)} : f32[1,1,5,3]
          %a = add %t, %e : f32[1,1,5,3]
          %y = transpose %a {order=(0, 3, 1, 2)} : f32[1,3,1,5]
          return %y
        }
        """,
        """
        graph @g(%x: f32[1,3,1,5], %z: f32[1,3,5]) {
          %e = reshape %z {shape=(1, 1, 3, 5)} : f32[1,1,3,5]
          %e.1 = reshape %e {shape=(1, 3, 1, 5)} : f32[1,3,1,5]
          %a = add %x, %e.1 : f32[1,3,1,5]
          return y=%a
        }
        """,
        exact=True,
    )


def test_one_transpose_that_has_nothing_to_cancel_stays() -> None:
    unchanged(
        cancel_transposes(),
        """
        graph @g(%x: f32[2,3,4,5]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[2,4,5,3]
          %r = relu %t : f32[2,4,5,3]
          return %r
        }
        """,
    )


def test_a_value_that_others_want_as_it_is() -> None:
    unchanged(
        cancel_transposes(),
        """
        graph @g(%x: f32[2,3,4,5], %w: f32[3,6]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[2,4,5,3]
          %r = relu %t : f32[2,4,5,3]
          %m = matmul %r, %w : f32[2,4,5,6]
          return %m, %r
        }
        """,
    )


def test_a_pair_around_scaled_integers() -> None:
    rewritten(
        cancel_transposes(),
        """
        graph @g(%x: f32[2,3,4,5]) {
          %t = transpose %x {order=(0, 2, 3, 1)} : f32[2,4,5,3]
          %q = quantize %t {scales=(0.5,)} : q8<0.5>[2,4,5,3]
          %d = dequantize %q {scales=(0.5,)} : f32[2,4,5,3]
          %y = transpose %d {order=(0, 3, 1, 2)} : f32[2,3,4,5]
          return %y
        }
        """,
        """
        graph @g(%x: f32[2,3,4,5]) {
          %q = quantize %x {scales=(0.5,)} : q8<0.5>[2,3,4,5]
          %d = dequantize %q {scales=(0.5,)} : f32[2,3,4,5]
          return y=%d
        }
        """,
        exact=True,
    )


def test_a_transpose_of_scaled_reals_has_their_scale_behind_it() -> None:
    rewritten(
        cancel_transposes(),
        """
        graph @g(%x: f32[2,3,4,5]) {
          %q = quantize %x {scales=(0.5,)} : q8<0.5>[2,3,4,5]
          %d = dequantize %q {scales=(0.5,)} : f32[2,3,4,5]
          %t = transpose %d {order=(0, 2, 3, 1)} : f32[2,4,5,3]
          %r = relu %t : f32[2,4,5,3]
          %u = transpose %r {order=(0, 3, 1, 2)} : f32[2,3,4,5]
          %m = transpose %d {order=(0, 1, 3, 2)} : f32[2,3,5,4]
          return %u, %m
        }
        """,
        """
        graph @g(%x: f32[2,3,4,5]) {
          %q = quantize %x {scales=(0.5,)} : q8<0.5>[2,3,4,5]
          %d = dequantize %q {scales=(0.5,)} : f32[2,3,4,5]
          %r = relu %d : f32[2,3,4,5]
          %m = transpose %d {order=(0, 1, 3, 2)} : f32[2,3,5,4]
          %m.q = quantize %m {scales=(0.5,)} : q8<0.5>[2,3,5,4]
          %m.1 = dequantize %m.q {scales=(0.5,)} : f32[2,3,5,4]
          return u=%r, m=%m.1
        }
        """,
        exact=True,
    )
