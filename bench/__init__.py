"""Reproducible comparisons with peers. Run by hand (`make bench`), never part of the tests; both sides run in the same process."""
