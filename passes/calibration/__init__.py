"""Samples to statistics, and statistics to ranges."""
