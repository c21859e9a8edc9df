"""The `maestro` command: one sub-command a domain. Thin: parses, calls, prints."""
