"""The chain of migrations."""
