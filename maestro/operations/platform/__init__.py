"""The platform on a cluster: rendered, planned, applied in a declared order, watched, examined, and taken down again."""
