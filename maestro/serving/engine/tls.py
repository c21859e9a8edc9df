"""TLS on the data port."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from maestro.core.errors import BadInput

if TYPE_CHECKING:
    from maestro.core.settings import ServingSettings


def tls_files(serving: ServingSettings) -> tuple[Path, Path] | None:
    """Certificate and key of the data port; None without them. They were checked when the port was opened."""
    if serving.tls_cert is None or serving.tls_key is None:
        return None
    return serving.tls_cert, serving.tls_key


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """A context for TLS 1.2 and later; None without a certificate.

    Raises:
        BadInput: one file is given without the other, or they cannot be read or do not fit.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise BadInput(
            "TLS takes a certificate and its key",
            field="MAESTRO_SERVING__TLS_CERT",
            remedy="set MAESTRO_SERVING__TLS_CERT and MAESTRO_SERVING__TLS_KEY",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"certificate {certificate} and key {key} cannot be used: {error}",
            field="MAESTRO_SERVING__TLS_CERT",
            remedy="give a PEM certificate chain and its PEM key",
        ) from None
    return context
