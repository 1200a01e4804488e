"""Post-training corrections: equalization, bias correction, learned rounding."""
