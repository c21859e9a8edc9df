"""Domain types that every part shares: models, errors, settings, clock, money.

Law: nothing here performs I/O or imports a client library.
"""
