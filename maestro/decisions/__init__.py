"""Every decision as a pure function of numbers and a clock.

Law: no I/O, no global state, no randomness but by a given seed; the same input gives the same bytes.
"""
