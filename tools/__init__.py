"""The repository's own tools, behind the Makefile's doors. Not part of the wheel."""
