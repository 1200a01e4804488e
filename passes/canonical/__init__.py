"""Float graph to canonical float graph: folding, cleaning, recognition, fusion."""
