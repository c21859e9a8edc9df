"""Digests of images: from a registry by the OCI distribution protocol, or from the local build of docker or podman.

Source: OCI Distribution Specification 1.1, "Pulling manifests"; Docker's token authentication.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import httpx

from maestro.core.errors import NotFound, Unreachable

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOSTS = {"docker.io": "registry-1.docker.io"}


def remote_digest(name: str, tag: str, *, timeout_s: float = 15.0) -> str:
    """The digest that a registry gives for a tag.

    Raises:
        Unreachable: the registry does not answer, or refuses to.
        NotFound: it has no such image.
    """
    host, _, repository = name.partition("/")
    scheme = "http" if host.split(":")[0] in {"localhost", "127.0.0.1"} else "https"
    url = f"{scheme}://{_HOSTS.get(host, host)}/v2/{repository}/manifests/{tag}"
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=True) as client:
            answer = client.head(url, headers={"Accept": ACCEPT})
            if answer.status_code == 401:
                token = _token(client, answer.headers.get("WWW-Authenticate", ""))
                answer = client.head(url, headers={"Accept": ACCEPT, "Authorization": f"Bearer {token}"})
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(
            f"registry {host}: {error}", remedy="run this where the registry can be reached", component=host
        ) from None
    if answer.status_code == 404:
        raise NotFound(f"registry {host} has no {repository}:{tag}", remedy="correct infrastructure/versions.yaml")
    digest = answer.headers.get("Docker-Content-Digest", "")
    if answer.status_code != 200 or not _DIGEST.fullmatch(digest):
        raise Unreachable(
            f"registry {host} answers {answer.status_code} for {repository}:{tag}",
            remedy="log in where it asks for it, or run this elsewhere",
            component=host,
        )
    return str(digest)


def _token(client: httpx.Client, challenge: str) -> str:
    parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = parameters.pop("realm", "")
    answer = client.get(realm, params=parameters)
    answer.raise_for_status()
    document = answer.json()
    return str(document.get("token") or document.get("access_token") or "")


def local_digest(reference: str) -> str | None:
    """The digest of an image that docker or podman holds; None when neither has it with a digest."""
    for engine in ("podman", "docker"):
        if shutil.which(engine) is None:
            continue
        try:
            done = subprocess.run(
                [engine, "image", "inspect", reference], capture_output=True, text=True, timeout=30, check=False
            )
            found = json.loads(done.stdout)[0] if done.returncode == 0 else {}
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            continue
        named = [str(entry).partition("@")[2] for entry in found.get("RepoDigests") or []]
        for digest in [str(found.get("Digest", "")), *named]:
            if _DIGEST.fullmatch(digest):
                return digest
    return None
