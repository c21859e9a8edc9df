"""Turning a version into a plan: once, in a process of its own, with the original confined and every fast path proven against it."""
