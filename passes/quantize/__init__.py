"""Ranges to scales, and scales to a fake-quant graph."""
