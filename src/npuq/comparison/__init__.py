"""Two versions of a network, side by side."""
