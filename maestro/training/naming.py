"""Names in MLflow."""

from __future__ import annotations


def experiment_name(tenant: str, name: str) -> str:
    """The MLflow experiment of a tenant: the plain name for the default tenant, else prefixed, so that tenants never share one.

    >>> experiment_name("default", "churn"), experiment_name("t1", "churn")
    ('churn', 't1/churn')
    """
    return name if tenant == "default" else f"{tenant}/{name}"
