"""The only modules that import a client library: databases, MLflow, Feast, HTTP, Prometheus, …

Law: an adapter translates the library's failures into `maestro.core.errors`, and imports heavy libraries when first used.
"""
