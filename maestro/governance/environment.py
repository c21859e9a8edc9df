"""For which environment this control plane's statements admit a version."""

ENVIRONMENT = "production"
"""Traffic of real callers, as the model server names it. A statement for another environment admits nothing there."""
