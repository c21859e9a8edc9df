"""The control plane's HTTP door. Thin: authenticates, parses, calls, answers."""
