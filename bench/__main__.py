"""Run the comparisons: all, or those named.

python -m bench [bandits] [batch] [cost] [drift] [hpo] [planned] [queue] [router] [serving] [steady] [streaming] [training]
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMPARISONS = {
    name: f"bench.{name}" for name in ("bandits", "batch", "drift", "hpo", "planned", "queue", "serving", "streaming", "training")
} | {name: f"bench.serving.{name}" for name in ("cost", "router", "steady")}  # fmt: skip
"""Name to the module whose `compare` gives its lines; imported when it is run, since `training` lives in an environment of its own."""


def main(names: Sequence[str]) -> int:
    """Print each comparison; returns the exit status."""
    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        print(f"no comparison {', '.join(unknown)}; there are {', '.join(COMPARISONS)}", file=sys.stderr)
        return 2
    for name in names or COMPARISONS:
        print(f"== {name}", *importlib.import_module(COMPARISONS[name]).compare(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
