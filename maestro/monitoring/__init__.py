"""Drift of data and of streams, and what models answer in production."""
