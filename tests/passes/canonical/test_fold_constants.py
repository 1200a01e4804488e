"""What is known is computed once; what is large or carries a scale stays."""

from __future__ import annotations

import numpy as np

from npuq.ir import Constant, Graph
from npuq.passes.canonical.fold_constants import LIMIT, fold_constants

from ..rewriting import graph, rewritten, unchanged


def test_arithmetic_on_shapes_vanishes() -> None:
    before = """
    graph @g(%x: f32[2,6]) {
      const %shape: i64[2] = [2, 6]
      const %first: i64[1] = [0]
      const %three: i64[1] = [3]
      %n = gather %shape, %first {axis=0} : i64[1]
      %m = mul %n, %three : i64[1]
      %s = concat %m, %n {axis=0} : i64[2]
      %f = cast %s {to=f32} : f32[2]
      %r = reshape %f {shape=(2, 1)} : f32[2,1]
      %y = add %x, %r : f32[2,6]
      return %y, sizes=%s
    }
    """
    after = """
    graph @g(%x: f32[2,6]) {
      const %s: i64[2] = [6, 2]
      const %r: f32[2,1] = [6.0, 2.0]
      %y = add %x, %r : f32[2,6]
      return %y, sizes=%s
    }
    """
    rewritten(fold_constants(), before, after, exact=True)


def test_half_precision_weights_become_full_ones() -> None:
    before = """
    graph @g(%x: f32[1,1,2]) {
      const %h: f16[1,1,2] = [0.0999755859375, -2.0]
      %w = cast %h {to=f32} : f32[1,1,2]
      %y = conv %x, %w {stride=(1,), padding=((0, 0),), dilation=(1,)} : f32[1,1,1]
      return %y
    }
    """
    after = """
    graph @g(%x: f32[1,1,2]) {
      const %w: f32[1,1,2] = [0.0999755859375, -2.0]
      %y = conv %x, %w {stride=(1,), padding=((0, 0),), dilation=(1,)} : f32[1,1,1]
      return %y
    }
    """
    rewritten(fold_constants(), before, after, exact=True)


def test_every_output_may_be_known() -> None:
    before = """
    graph @g() {
      const %a: i8[2] = [1, -2]
      const %b: bool[2] = [1, 0]
      %y = where %b, %a, %a : i8[2]
      %z = not %b : bool[2]
      return %y, %z
    }
    """
    after = """
    graph @g() {
      const %a: i8[2] = [1, -2]
      const %z: bool[2] = [False, True]
      return y=%a, %z
    }
    """
    rewritten(fold_constants(), before, after, exact=True)


def test_quantize_and_dequantize_stay() -> None:
    unchanged(
        fold_constants(),
        """
        graph @g(%x: f32[2,2]) {
          const %q: q8<0.5>[2,2] = [1, 2, 3, 4]
          const %f: f32[2] = [1.0, 2.0]
          %w = dequantize %q {scales=(0.5,)} : f32[2,2]
          %i = quantize %f {scales=(0.5,)} : q8<0.5>[2]
          %b = dequantize %i {scales=(0.5,)} : f32[2]
          %y = matmul %x, %w, %b : f32[2,2]
          return %y
        }
        """,
    )


def test_a_result_that_is_much_larger_than_its_operands_stays() -> None:
    def expanded(count: int) -> Graph:
        return fold_constants()(
            graph(
                f"""
                graph @g(%x: f32[{count}]) {{
                  const %one: f32[1] = [1.0]
                  %e = expand %one {{shape=({count},)}} : f32[{count}]
                  %y = add %x, %e : f32[{count}]
                  return %y
                }}
                """
            )
        )

    assert [node.op.name for node in expanded(LIMIT // 4).nodes] == ["add"]
    assert [node.op.name for node in expanded(LIMIT // 4 + 1).nodes] == ["expand", "add"]


def test_large_weights_are_folded_however_large() -> None:
    weights = Constant.of((np.arange(LIMIT) % 2048).astype(np.float16).reshape(1024, -1))
    text = """
    graph @g(%x: f32[1,1024], %h: f16[1024,1024]) {
      %t = transpose %h {order=(1, 0)} : f16[1024,1024]
      %w = cast %t {to=f32} : f32[1024,1024]
      %y = matmul %x, %w : f32[1,1024]
      return %y
    }
    """
    computed = graph(text)
    inputs = {"x": computed.inputs["x"]}
    after = fold_constants()(Graph("g", inputs, {"h": weights}, computed.nodes, computed.outputs))
    assert [node.op.name for node in after.nodes] == ["matmul"]
    np.testing.assert_array_equal(after.constants["w"].array, weights.array.T.astype(np.float32))


def test_the_result_is_the_same_each_time() -> None:
    text = """
    graph @g(%x: f32[3]) {
      const %a: f32[3] = [0.1, 0.2, 0.3]
      %e = exp %a : f32[3]
      %s = softmax %e {axis=0} : f32[3]
      %y = mul %x, %s : f32[3]
      return %y
    }
    """
    assert fold_constants()(graph(text)) == fold_constants()(graph(text))


def test_what_has_no_elements_is_known() -> None:
    before = """
    graph @g(%x: f32[2,3]) {
      %r = relu %x : f32[2,3]
      %e = slice %r {starts=(0, 0), stops=(0, 3), steps=(1, 1)} : f32[0,3]
      %y = pad %e {padding=((0, 2), (0, 0)), value=0.5} : f32[2,3]
      return %r, %y
    }
    """
    after = """
    graph @g(%x: f32[2,3]) {
      const %y: f32[2,3] = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
      %r = relu %x : f32[2,3]
      return %r, %y
    }
    """
    rewritten(fold_constants(), before, after, exact=True)
