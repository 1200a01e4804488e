"""A recipe in, a quantized network out."""
