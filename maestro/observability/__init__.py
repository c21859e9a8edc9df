"""Logging, metrics, tracing and the notifier: what every service says about itself."""
