"""The benchmarks' data suits the nets, keeps calibration and evaluation apart, and never changes from run to run."""

import numpy as np
import onnxruntime
import pytest

from benchmarks import data

# right answers of the float net on its labelled inputs, at least; rendered text varies a little with Pillow's release
RIGHT = {"fashion": 474, "mobilenet_v2": 18, "efficientnet_lite0": 17, "ppocr_cls": 190}


@pytest.mark.zoo
@pytest.mark.parametrize("name", RIGHT)
def test_float_net_knows_its_data(name: str) -> None:
    bench = data.load(name)
    assert bench.labels is not None
    known = bench.labels >= 0
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bench.model, options)
    (logits,) = session.run(None, {next(iter(bench.shapes)): bench.evaluation[known]})
    assert np.count_nonzero(logits.argmax(1) == bench.labels[known]) >= RIGHT[name]


@pytest.mark.zoo
@pytest.mark.parametrize("name", data.BENCHES)
def test_arrays_fit_the_net_and_stay_apart(name: str) -> None:
    bench, again = data.load(name), data.load(name)
    ((_, *shape),) = bench.shapes.values()
    for array in (bench.calibration, bench.evaluation):
        assert array.dtype == np.float32
        assert list(array.shape[1:]) == shape
    assert not {x.tobytes() for x in bench.calibration} & {x.tobytes() for x in bench.evaluation}
    np.testing.assert_array_equal(bench.calibration, again.calibration)
    np.testing.assert_array_equal(bench.evaluation, again.evaluation)
