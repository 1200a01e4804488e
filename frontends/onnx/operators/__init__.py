"""ONNX operators, one converter each, grouped as ONNX groups them."""
