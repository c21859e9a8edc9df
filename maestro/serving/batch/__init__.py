"""Batch inference: tables in, one prediction a row out, by every core, each row exactly once however often it is interrupted."""
