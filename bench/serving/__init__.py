"""The model server beside its peers: each pinned to one core with its best settings, a C load generator pinned to the other.

Table (a): each peer as its documentation shows it, with the model as it was logged. Table (b): each given the same ONNX file. Every server must give the
model's own answers before it is measured. Peers live in environments of their own below `$MAESTRO_BENCH_CACHE`; one that cannot be installed is
listed as not shown. Ratios are of one run on one machine, never of two.
"""

from __future__ import annotations

from bench.serving.run import compare

__all__ = ["compare"]
