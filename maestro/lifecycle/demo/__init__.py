"""The story that `make demo` runs: real data, real processes, every verdict checked against what is expected."""
