"""Training jobs as Kubernetes objects: pure functions from an attempt to documents."""
