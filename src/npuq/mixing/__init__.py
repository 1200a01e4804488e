"""Widths chosen op by op for a calibrated network."""
