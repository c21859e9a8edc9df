"""Tests that stay valid however often one looks: e-processes and confidence sequences."""
