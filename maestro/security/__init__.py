"""Principals, secrets, signatures, trust policy, quarantine, audit chain: who may change what gets traffic, and how it is proven."""
