"""int8 by AIMET-ONNX: run by `benchmarks.accuracy` in an environment of its own.

    python rival_aimet.py MODEL CALIBRATION.npy INPUTS.npy symmetric|asymmetric min_max|tf_enhanced OUTPUTS.npy

Its quantization simulation, as it runs it itself, with its default configuration of weights per channel; `tf_enhanced`
weighs clipping against rounding.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from aimet_onnx.common.quantsim_config.utils import get_path_for_per_channel_config
from aimet_onnx.quantsim import QuantizationSimModel


def main(model: str, calibration: str, inputs: str, activations: str, method: str, outputs: str) -> None:
    graph = onnx.load(model)
    name = graph.graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads(Path(get_path_for_per_channel_config()).read_text())
        config["defaults"]["ops"]["is_symmetric"] = str(activations == "symmetric")
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config))
        sim = QuantizationSimModel(graph, quant_scheme=method, config_file=str(file))
    sim.compute_encodings([{name: image[None]} for image in np.load(calibration)])
    np.save(outputs, np.concatenate([sim.session.run(None, {name: one[None]})[0] for one in np.load(inputs)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
