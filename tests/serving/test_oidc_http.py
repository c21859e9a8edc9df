"""Callers by an issuer's tokens, and the port behind TLS."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from maestro.core.errors import BadInput
from maestro.core.principals import PrincipalRole
from maestro.core.settings import ServingSettings
from maestro.serving.auth import oidc_settings
from maestro.serving.engine.tls import tls_context
from tests.serving.conftest import Serve, Trained, Workshop, node

pytestmark = pytest.mark.door

ISSUER, AUDIENCE = "https://issuer.example", "maestro"


def write_keys(path: Path, key: ec.EllipticCurvePrivateKey, kid: str = "k1") -> None:
    document = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    path.write_text(json.dumps({"keys": [document | {"kid": kid, "use": "sig", "alg": "ES256"}]}))


def token(key: Any, kid: str = "k1", algorithm: str = "ES256", **claims: Any) -> str:
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "caller", "exp": time.time() + 60} | claims
    return jwt.encode({k: v for k, v in content.items() if v is not None}, key, algorithm, headers={"kid": kid})


def test_a_token_of_the_issuer_admits_and_nothing_else_does(
    workshop: Workshop, trained: Trained, serve: Serve, tmp_path: Path
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    keys = tmp_path / "jwks.json"
    write_keys(keys, key)
    client = serve(auth="oidc", oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_keys=keys)
    body = {"instances": trained.rows[:1].tolist()}

    def ask(credential: str | None) -> int:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        return client.post("/predict", json=body, headers=headers).status_code

    assert ask(token(key)) == 200
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    refused = {
        "nobody's": None,
        "another key": token(other),
        "expired": token(key, exp=time.time() - 60),
        "without end": token(key, exp=None),
        "another issuer": token(key, iss="https://elsewhere.example"),
        "another audience": token(key, aud="elsewhere"),
        "no subject": token(key, sub=None),
        "an unknown key's name": token(other, kid="k2"),
        "unsigned": jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": time.time() + 60}, "", "none"),
        "no token": "abc",
    }
    assert {name: ask(credential) for name, credential in refused.items()} == dict.fromkeys(refused, 401)
    # The public key is no shared secret.
    with pytest.raises(jwt.InvalidKeyError):
        token(public, algorithm="HS256")
    # Keys of our own are taken beside tokens; a token gives no role.
    assert ask(workshop.key(PrincipalRole.VIEWER)) == 200
    assert client.get("/admin/graphs", headers={"Authorization": f"Bearer {token(key)}"}).status_code == 401


def test_settings_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="OIDC_AUDIENCE"):
        oidc_settings(ServingSettings(auth="oidc", oidc_issuer=ISSUER))
    assert oidc_settings(ServingSettings()) is None
    assert tls_context(None, None) is None
    with pytest.raises(BadInput, match="certificate and its key"):
        tls_context(tmp_path / "a", None)
    with pytest.raises(BadInput, match="cannot be used"):
        tls_context(tmp_path / "a", tmp_path / "b")


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_the_port_speaks_tls_and_nothing_else(
    workshop: Workshop, trained: Trained, serve: Serve, tmp_path: Path
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    cert, key = certificate(tmp_path)
    plain = serve(tls_cert=cert, tls_key=key)
    url = f"https://localhost:{plain.base_url.port}"
    trust = ssl.create_default_context(cafile=str(cert))
    with httpx.Client(verify=trust, trust_env=False) as client:
        for _ in range(3):
            response = client.post(f"{url}/predict", json={"instances": trained.rows[:2].tolist()})
            assert response.json() == {"predictions": trained.answers[:2]}
    with pytest.raises(httpx.TransportError):
        plain.get("/ping")
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.minimum_version = ssl.TLSVersion.TLSv1_2

    async def protocol() -> str | None:
        _, writer = await asyncio.open_connection("localhost", plain.base_url.port, ssl=old)
        spoken: str | None = writer.get_extra_info("ssl_object").version()
        writer.close()
        return spoken

    assert asyncio.run(protocol()) == "TLSv1.2"
