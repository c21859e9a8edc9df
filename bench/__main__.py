"""Run the comparisons: all, or those named.

python -m bench [bandits] [batch] [drift] [hpo] [planned] [queue] [serving] [steady] [streaming] [training]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench import bandits, batch, drift, hpo, planned, queue, serving, streaming, training
from bench.serving import steady

COMPARISONS: dict[str, Callable[[], list[str]]] = {
    "bandits": bandits.compare,
    "batch": batch.compare,
    "drift": drift.compare,
    "hpo": hpo.compare,
    "planned": planned.compare,
    "queue": queue.compare,
    "serving": serving.compare,
    "steady": steady.compare,
    "streaming": streaming.compare,
    "training": training.compare,
}


def main(names: Sequence[str]) -> int:
    """Print each comparison; returns the exit status."""
    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        print(f"no comparison {', '.join(unknown)}; there are {', '.join(COMPARISONS)}", file=sys.stderr)
        return 2
    for name in names or COMPARISONS:
        print(f"== {name}", *COMPARISONS[name](), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
