"""Batch norms go into the weights beside them, where that is exact, and become affine ops elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import NpuqError
from npuq.passes.canonical.fuse_batch_norm import fuse_batch_norm
from npuq.passes.conditions import no_batch_norm

from ..rewriting import both, graph, rewritten, unchanged

NORM = """
  const %s: f32[2] = [2.0, 3.0]
  const %o: f32[2] = [1.0, -1.0]
  const %m: f32[2] = [0.5, 0.25]
  const %v: f32[2] = [4.0, 1.0]
"""
"""y = x + 0.5 in channel 0, 3 x - 1.75 in channel 1, for epsilon 0."""


def test_after_a_conv_with_a_bias() -> None:
    before = f"""graph @g(%x: f32[1,2,3,3]) {{{NORM}
  const %w: f32[2,2,1,1] = [1.0, 2.0, 3.0, 4.0]
  const %b: f32[2] = [10.0, 20.0]
  %c = conv %x, %w, %b {{stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)}} : f32[1,2,5,5]  loc("f:c")
  %n = batch_norm %c, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,5,5]  loc("f:n")
  %y = relu %n : f32[1,2,5,5]
  return %y
}}"""
    after = """
graph @g(%x: f32[1,2,3,3]) {
  const %n.w: f32[2,2,1,1] = [1.0, 2.0, 9.0, 12.0]
  const %n.b: f32[2] = [10.5, 58.25]
  %n = conv %x, %n.w, %n.b {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)} : f32[1,2,5,5]  loc("f:c")
  %y = relu %n : f32[1,2,5,5]
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_after_a_conv_whose_bias_is_added() -> None:
    before = f"""graph @g(%x: f32[1,2,3,3]) {{{NORM}
  const %w: f32[2,1,1,1] = [1.0, 2.0]
  const %b: f32[1,2,1,1] = [10.0, 20.0]
  %c = conv %x, %w {{stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=2}} : f32[1,2,3,3]  loc("f:c")
  %a = add %c, %b : f32[1,2,3,3]
  %n = batch_norm %a, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,3,3]
  return %n
}}"""
    after = """
graph @g(%x: f32[1,2,3,3]) {
  const %n.w: f32[2,1,1,1] = [1.0, 6.0]
  const %n.b: f32[2] = [10.5, 58.25]
  %n = conv %x, %n.w, %n.b {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=2} : f32[1,2,3,3]\
  loc("f:c")
  return %n
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_after_a_grouped_transposed_conv() -> None:
    before = """
graph @g(%x: f32[1,2,3]) {
  const %s: f32[4] = [1.0, 2.0, 3.0, 4.0]
  const %o: f32[4] = [5.0, 6.0, 7.0, 8.0]
  const %m: f32[4] = [1.0, 0.0, 0.0, 0.0]
  const %v: f32[4] = [1.0, 1.0, 1.0, 1.0]
  const %w: f32[2,2,2] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]
  %c = conv_transpose %x, %w {stride=(2,), padding=((0, 1),), dilation=(1,), groups=2, output_padding=(0,)} : f32[1,4,5]
  %y = batch_norm %c, %s, %o, %m, %v {epsilon=0.0} : f32[1,4,5]
  return %y
}"""
    after = """
graph @g(%x: f32[1,2,3]) {
  const %y.w: f32[2,2,2] = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 8.0]
  const %y.b: f32[4] = [4.0, 6.0, 7.0, 8.0]
  %y = conv_transpose %x, %y.w, %y.b {stride=(2,), padding=((0, 1),), dilation=(1,), groups=2, output_padding=(0,)}\
 : f32[1,4,5]
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_after_and_before_a_matmul() -> None:
    before = f"""graph @g(%x: f32[3,2]) {{{NORM}
  const %w: f32[2,2] = [1.0, 2.0, 3.0, 4.0]
  %n = batch_norm %x, %s, %o, %m, %v {{epsilon=0.0}} : f32[3,2]
  %a = matmul %n, %w : f32[3,2]
  %y = batch_norm %a, %s, %o, %m, %v {{epsilon=0.0}} : f32[3,2]
  return %y
}}"""
    after = """
graph @g(%x: f32[3,2]) {
  const %y.w.1: f32[2,2] = [1.0, 6.0, 9.0, 36.0]
  const %y.b.1: f32[2] = [-4.25, -19.75]
  %y = matmul %x, %y.w.1, %y.b.1 : f32[3,2]
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_before_an_unpadded_grouped_conv() -> None:
    before = f"""graph @g(%x: f32[1,2,3]) {{{NORM}
  const %w: f32[4,1,2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
  %n = batch_norm %x, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,3]  loc("f:n")
  %y = conv %n, %w {{stride=(1,), padding=((0, 0),), dilation=(1,), groups=2}} : f32[1,4,2]  loc("f:c")
  return %y
}}"""
    after = """
graph @g(%x: f32[1,2,3]) {
  const %y.w: f32[4,1,2] = [1.0, 2.0, 3.0, 4.0, 15.0, 18.0, 21.0, 24.0]
  const %y.b: f32[4] = [1.5, 3.5, -19.25, -26.25]
  %y = conv %x, %y.w, %y.b {stride=(1,), padding=((0, 0),), dilation=(1,), groups=2} : f32[1,4,2]  loc("f:c")
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_a_pure_scale_goes_into_a_padded_conv_and_a_transposed_one() -> None:
    before = """
graph @g(%x: f32[1,2,3]) {
  const %s: f32[2] = [2.0, 3.0]
  const %zero: f32[2] = [0.0, 0.0]
  const %v: f32[2] = [1.0, 1.0]
  const %w: f32[1,2,1] = [1.0, 2.0]
  const %t: f32[2,1,2] = [1.0, 2.0, 3.0, 4.0]
  %n = batch_norm %x, %s, %zero, %zero, %v {epsilon=0.0} : f32[1,2,3]
  %y = conv %n, %w {stride=(1,), padding=((1, 1),), dilation=(1,)} : f32[1,1,5]
  %p = batch_norm %x, %s, %zero, %zero, %v {epsilon=0.0} : f32[1,2,3]
  %z = conv_transpose %p, %t {stride=(1,), padding=((0, 0),), dilation=(1,), output_padding=(0,)} : f32[1,1,4]
  return %y, %z
}"""
    after = """
graph @g(%x: f32[1,2,3]) {
  const %y.w: f32[1,2,1] = [2.0, 6.0]
  const %z.w: f32[2,1,2] = [2.0, 4.0, 9.0, 12.0]
  %y = conv %x, %y.w {stride=(1,), padding=((1, 1),), dilation=(1,)} : f32[1,1,5]
  %z = conv_transpose %x, %z.w {stride=(1,), padding=((0, 0),), dilation=(1,), output_padding=(0,)} : f32[1,1,4]
  return %y, %z
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_an_offset_before_padding_stands_alone_as_a_depthwise_conv() -> None:
    before = f"""graph @g(%x: f32[1,2,1,3]) {{{NORM}
  const %w: f32[1,2,1,1] = [1.0, 2.0]
  %n = batch_norm %x, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,1,3]  loc("f:n")
  %y = conv %n, %w {{stride=(1, 1), padding=((0, 0), (1, 1)), dilation=(1, 1)}} : f32[1,1,1,5]
  return %y
}}"""
    after = """
graph @g(%x: f32[1,2,1,3]) {
  const %w: f32[1,2,1,1] = [1.0, 2.0]
  const %n.w: f32[2,1,1,1] = [1.0, 3.0]
  const %n.b: f32[2] = [0.5, -1.75]
  %n = conv %x, %n.w, %n.b {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=2}\
 : f32[1,2,1,3]  loc("f:n")
  %y = conv %n, %w {stride=(1, 1), padding=((0, 0), (1, 1)), dilation=(1, 1)} : f32[1,1,1,5]
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


def test_one_that_stands_alone_on_another_rank_becomes_a_product_and_a_sum() -> None:
    before = f"""graph @g(%x: f32[1,2,3]) {{{NORM}
  %y = batch_norm %x, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,3]  loc("f:n")
  return %y
}}"""
    after = """
graph @g(%x: f32[1,2,3]) {
  const %y.scale: f32[2,1] = [1.0, 3.0]
  const %y.offset: f32[2,1] = [0.5, -1.75]
  %y.scaled = mul %x, %y.scale : f32[1,2,3]  loc("f:n")
  %y = add %y.scaled, %y.offset : f32[1,2,3]  loc("f:n")
  return %y
}"""
    rewritten(fuse_batch_norm(), before, after)


@pytest.mark.parametrize("reader", ["%z = relu %c : f32[1,2,2,2]\n  return %y, %z", "return %y, %c"])
def test_a_conv_that_something_else_reads_keeps_its_weights(reader: str) -> None:
    before = f"""graph @g(%x: f32[1,1,2,2]) {{{NORM}
  const %w: f32[2,1,1,1] = [1.0, 2.0]
  %c = conv %x, %w {{stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)}} : f32[1,2,2,2]
  %y = batch_norm %c, %s, %o, %m, %v {{epsilon=0.0}} : f32[1,2,2,2]
  {reader}
}}"""
    after = f"""
graph @g(%x: f32[1,1,2,2]) {{
  const %w: f32[2,1,1,1] = [1.0, 2.0]
  const %y.w: f32[2,1,1,1] = [1.0, 3.0]
  const %y.b: f32[2] = [0.5, -1.75]
  %c = conv %x, %w {{stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)}} : f32[1,2,2,2]
  %y = conv %c, %y.w, %y.b {{stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=2}} : f32[1,2,2,2]
  {reader}
}}"""
    rewritten(fuse_batch_norm(), before, after)


def test_a_batch_norm_that_several_ops_read_is_not_copied_into_their_weights() -> None:
    before = f"""graph @g(%x: f32[3,2]) {{{NORM}
  const %w: f32[2,1] = [1.0, 2.0]
  %n = batch_norm %x, %s, %o, %m, %v {{epsilon=0.0}} : f32[3,2]
  %y = matmul %n, %w : f32[3,1]
  %z = relu %n : f32[3,2]
  return %y, %z
}}"""
    assert [node.op.name for node in fuse_batch_norm()(graph(before)).nodes] == ["mul", "add", "matmul", "relu"]


def test_a_row_of_batch_norms_is_rounded_once() -> None:
    thirds = """
graph @g(%x: f32[1,2,1]) {
  const %s: f32[2] = [1.1, 1.3]
  const %o: f32[2] = [0.1, 0.3]
  const %m: f32[2] = [0.7, 0.9]
  const %v: f32[2] = [3.0, 7.0]
  const %w: f32[2,2,1] = [0.1, 0.2, 0.3, 0.4]
  %c = conv %x, %w {stride=(1,), padding=((0, 0),), dilation=(1,)} : f32[1,2,1]
  %n = batch_norm %c, %s, %o, %m, %v : f32[1,2,1]
  %p = batch_norm %n, %o, %s, %v, %m : f32[1,2,1]
  %y = batch_norm %p, %s, %o, %m, %v : f32[1,2,1]
  return %y
}"""
    before = graph(thirds)
    after = fuse_batch_norm()(before)
    assert [node.op.name for node in after.nodes] == ["conv"]
    s, o, m, v, w = (before.constants[name].array.astype(np.float64) for name in "somvw")
    offset, w = np.zeros(2), w[..., 0]
    for scale, shift, mean, variance in ((s, o, m, v), (o, s, v, m), (s, o, m, v)):
        factor = scale / np.sqrt(variance + 1e-5)
        w, offset = w * factor[:, None], (offset - mean) * factor + shift
    weights, bias = (after.constants[name].array for name in after.nodes[0].operands[1:])
    np.testing.assert_array_max_ulp(weights[..., 0], w.astype(np.float32), 0)
    np.testing.assert_array_max_ulp(bias, offset.astype(np.float32), 1)
    for one, two in zip(*both(before, after), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_batch_norm_on_an_axis_that_a_matmul_does_not_make_stays_apart() -> None:
    before = f"""graph @g(%x: f32[3,2,2]) {{{NORM}
  const %w: f32[2,2] = [1.0, 2.0, 3.0, 4.0]
  %a = matmul %x, %w : f32[3,2,2]
  %y = batch_norm %a, %s, %o, %m, %v {{epsilon=0.0}} : f32[3,2,2]
  return %y
}}"""
    assert [node.op.name for node in fuse_batch_norm()(graph(before)).nodes] == ["matmul", "mul", "add"]


def test_computed_parameters_and_weights_stay() -> None:
    text = f"""graph @g(%x: f32[3,2], %w: f32[2,2], %k: f32[2]) {{{NORM}
  %y = batch_norm %x, %k, %o, %m, %v : f32[3,2]
  return %y
}}"""
    unchanged(fuse_batch_norm(), text.replace("  const %s: f32[2] = [2.0, 3.0]\n", ""))
    computed = f"""graph @g(%x: f32[3,2], %w: f32[2,2]) {{{NORM}
  %a = matmul %x, %w : f32[3,2]
  %y = batch_norm %a, %s, %o, %m, %v {{epsilon=0.0}} : f32[3,2]
  return %y
}}"""
    assert [node.op.name for node in fuse_batch_norm()(graph(computed)).nodes] == ["matmul", "mul", "add"]


def test_the_promise_names_the_place() -> None:
    text = f"""graph @g(%x: f32[3,2]) {{{NORM}
  %y = batch_norm %x, %s, %o, %m, %v : f32[3,2]  loc("net.onnx:bn1")
  return %y
}}"""
    message = r"^net\.onnx:bn1: batch_norm: a batch_norm with constant parameters is left; run fuse-batch-norm$"
    with pytest.raises(NpuqError, match=message):
        no_batch_norm(graph(text))
