"""What npuq reads and writes: data, graphs, results."""
