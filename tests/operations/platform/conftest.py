"""A checkout of a few files, as the commands look for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.operations.platform.layout import Layout

VERSIONS = """\
# a comment that stays
kubernetes: {minimum: "1.31"}
images:
  - {name: localhost/ours/app, tag: "1", digest: null, built: infrastructure/images/app}
  - name: registry.example/upstream/app
    tag: v2
    digest: null
    why: because
apis:
  - {group: gateway.networking.k8s.io, version: v1, crds: Gateway API v1, optional: components/gateway}
"""
SECRETS = """\
secrets:
  - namespace: ml-platform
    name: credentials
    keys:
      password: {random: 24}
      url: {template: "user:{password}@host"}
public: []
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: ml-platform}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      initContainers:
        - {name: first, image: "localhost/ours/app:1", resources: {requests: {cpu: 300m, memory: 1Gi}}}
      containers:
        - {name: app, image: "localhost/ours/app:1", resources: {requests: {cpu: 100m, memory: 64Mi}}}
        - {name: other, image: "registry.example/upstream/app:v2", resources: {requests: {cpu: 100m, memory: 64Mi}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ml-platform}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The checkout."""
    folder = tmp_path / "checkout" / "infrastructure"
    folder.mkdir(parents=True)
    (folder / "versions.yaml").write_text(VERSIONS)
    (folder / "secrets.yaml").write_text(SECRETS)
    (folder / "app.yaml").write_text(DEPLOYMENT)
    return Layout(folder.parent)
