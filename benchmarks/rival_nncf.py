"""int8 by NNCF: run by `benchmarks.accuracy` in an environment of its own.

    python rival_nncf.py MODEL CALIBRATION.npy INPUTS.npy symmetric|asymmetric default OUTPUTS.npy

NNCF's post-training quantization with its defaults: weights per channel, ranges by min-max, biases corrected; the
preset `performance` has symmetric activations, `mixed` asymmetric ones. Its fake-quant model is run by onnxruntime
without graph optimizations.
"""

import sys

import nncf
import numpy as np
import onnx
import onnxruntime


def main(model: str, calibration: str, inputs: str, activations: str, method: str, outputs: str) -> None:
    graph = onnx.load(model)
    name = graph.graph.input[0].name
    images = np.load(calibration)
    preset = nncf.QuantizationPreset.PERFORMANCE if activations == "symmetric" else nncf.QuantizationPreset.MIXED
    data = nncf.Dataset([{name: image[None]} for image in images])
    quantized = nncf.quantize(graph, data, preset=preset, subset_size=len(images))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), options, providers=["CPUExecutionProvider"])
    np.save(outputs, np.concatenate([session.run(None, {name: one[None]})[0] for one in np.load(inputs)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
