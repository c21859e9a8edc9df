"""Tests that need PyTorch and TensorFlow: `make test-frameworks` runs them in an environment of their own, `make test` leaves them out."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("MAESTRO_TEST_FRAMEWORKS") else ["test_*.py"]
