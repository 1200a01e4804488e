"""The report of a quantized network: layers, scales, errors and costs; as JSON and HTML."""
