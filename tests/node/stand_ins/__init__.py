"""What stands in, on a node without a registry, for images of others: the same program where there is one, and what has none."""
