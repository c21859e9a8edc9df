from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from maestro.core.errors import Refused, TooLarge, Untrusted
from maestro.core.manifest import FileEntry, VersionManifest
from maestro.security.artifact import ArtifactLimits, measure
from maestro.security.quarantine import take_in
from tests.security.conftest import DIGEST, Version, write_version


class _SideEffect:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.shows("K7", env="laptop")
def test_the_copy_holds_the_pinned_bytes_and_is_private(version: Version, tmp_path: Path) -> None:
    private = tmp_path / "private" / "copy"
    assert take_in(version.folder, private, version.digest) == version.manifest
    assert private.stat().st_mode & 0o777 == 0o700
    for entry in version.manifest.files:
        copy = private / entry.path
        assert copy.read_bytes() == (version.folder / entry.path).read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o400
    assert VersionManifest.model_validate_json((private / "manifest.json").read_text()) == version.manifest


@pytest.mark.shows("K7", env="laptop")
def test_bytes_swapped_after_verification_change_nothing(version: Version, tmp_path: Path) -> None:
    private = tmp_path / "copy"
    take_in(version.folder, private, version.digest)
    original = (private / "files" / "MLmodel").read_bytes()
    (version.folder / "files" / "MLmodel").write_bytes(b"swapped bytes")
    assert (private / "files" / "MLmodel").read_bytes() == original
    with pytest.raises(Untrusted, match="MLmodel"):
        take_in(version.folder, tmp_path / "again", version.digest)


@pytest.mark.shows("K7", env="laptop")
def test_a_pickle_with_a_side_effect_is_copied_and_never_touched(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    payload = pickle.dumps(_SideEffect(trace))
    pickle.loads(payload)
    assert trace.is_dir(), "the pickle really has its side effect"
    trace.rmdir()
    code = f"import os\nos.mkdir({str(trace)!r})\n".encode()
    version = write_version(
        tmp_path / "v", {"model.pkl": payload, "code/sitecustomize.py": code, "code/evil.py": code, "x.pth": code}
    )
    before = set(sys.modules)
    take_in(version.folder, tmp_path / "copy", version.digest)
    assert not trace.exists()
    assert not [name for name in set(sys.modules) - before if "evil" in name or "sitecustomize" in name]


def _symlink_file(version: Version) -> None:
    (version.folder / "files" / "MLmodel").rename(version.folder / "hidden")
    (version.folder / "files" / "MLmodel").symlink_to("../hidden")


def _symlink_folder(version: Version) -> None:
    (version.folder / "files" / "code").rename(version.folder / "hidden")
    (version.folder / "files" / "code").symlink_to("../hidden")


def _symlink_files(version: Version) -> None:
    (version.folder / "files").rename(version.folder / "hidden")
    (version.folder / "files").symlink_to("hidden")


def _symlink_manifest(version: Version) -> None:
    (version.folder / "manifest.json").rename(version.folder / "hidden")
    (version.folder / "manifest.json").symlink_to("hidden")


def _symlink_version(version: Version) -> None:
    hidden = version.folder.with_name("hidden")
    version.folder.rename(hidden)
    version.folder.symlink_to(hidden)


def _dangling_link(version: Version) -> None:
    (version.folder / "files" / "extra").symlink_to("/nowhere")


def _hard_link(version: Version) -> None:
    os.link(version.folder / "files" / "MLmodel", version.folder / "second-name")


def _pipe(version: Version) -> None:
    (version.folder / "files" / "MLmodel").unlink()
    os.mkfifo(version.folder / "files" / "MLmodel")


def _extra(version: Version) -> None:
    (version.folder / "files" / "code" / "extra.py").write_text("")


def _missing(version: Version) -> None:
    (version.folder / "files" / "MLmodel").unlink()


def _longer(version: Version) -> None:
    with (version.folder / "files" / "MLmodel").open("ab") as file:
        file.write(b"x")


def _same_length(version: Version) -> None:
    path = version.folder / "files" / "MLmodel"
    path.write_bytes(bytes(reversed(path.read_bytes())))


def _folder_for_file(version: Version) -> None:
    (version.folder / "files" / "MLmodel").unlink()
    (version.folder / "files" / "MLmodel").mkdir()


@pytest.mark.shows("K7", env="laptop")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_symlink_file, "link"),
        (_symlink_folder, "link"),
        (_symlink_files, "link"),
        (_symlink_manifest, "link"),
        (_symlink_version, "link"),
        (_dangling_link, "link"),
        (_hard_link, "hard link"),
        (_pipe, "pipe"),
        (_extra, "not in the manifest"),
        (_missing, "missing"),
        (_longer, "bytes, the manifest says"),
        (_same_length, "was changed"),
        (_folder_for_file, "missing"),
    ],
)
def test_a_damaged_artifact_is_refused_and_leaves_nothing(
    version: Version, tmp_path: Path, damage: Callable[[Version], None], message: str
) -> None:
    damage(version)
    private = tmp_path / "copies" / "copy"
    with pytest.raises(Untrusted, match=message):
        take_in(version.folder, private, version.digest)
    assert not private.exists()
    assert not list((tmp_path / "copies").glob("*"))
    assert not list((tmp_path / "copies").glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_is_refused_without_being_opened(version: Version, tmp_path: Path) -> None:
    import stat

    (version.folder / "files" / "MLmodel").unlink()
    os.mknod(version.folder / "files" / "MLmodel", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with pytest.raises(Untrusted, match="device"):
        take_in(version.folder, tmp_path / "copy", version.digest)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "files/../../x", "files//x", "files/./x", "files\\x", "files/\0"]
)
def test_a_manifest_with_a_path_that_leads_elsewhere_is_refused(version: Version, tmp_path: Path, path: str) -> None:
    document = version.manifest.document()
    document["files"][0]["path"] = path
    (version.folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(Untrusted, match="not a plain relative path"):
        take_in(version.folder, tmp_path / "copy", version.digest)
    with pytest.raises(ValidationError):
        VersionManifest.model_validate(document)


@pytest.mark.parametrize("paths", [("files/a", "files/a"), ("files/a", "files/a/b"), ("files/a\nb",)])
def test_a_manifest_whose_paths_collide_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        VersionManifest(
            model="m",
            version="1.0.0",
            run_id="r",
            files=tuple(FileEntry(path=path, size=0, digest=DIGEST) for path in paths),
        )


def test_a_manifest_outside_the_files_folder_is_refused(version: Version, tmp_path: Path) -> None:
    document = version.manifest.document()
    document["files"][0]["path"] = "provenance.json"
    manifest = VersionManifest.model_validate(document)
    (version.folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(Untrusted, match="does not lie below files/"):
        take_in(version.folder, tmp_path / "copy", manifest.content_digest())


def test_another_digest_is_refused(version: Version, tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="expected sha256:0000"):
        take_in(version.folder, tmp_path / "copy", "sha256:" + "0" * 64)


@pytest.mark.parametrize("text", ["", "{", "[" * 50_000, '{"schema": 1}', "null"])
def test_a_manifest_that_is_none_is_refused(version: Version, tmp_path: Path, text: str) -> None:
    (version.folder / "manifest.json").write_text(text)
    with pytest.raises(Untrusted, match=r"manifest\.json"):
        take_in(version.folder, tmp_path / "copy", version.digest)


def test_size_limits_hold(version: Version, tmp_path: Path) -> None:
    for limits in (ArtifactLimits(total_bytes=1000), ArtifactLimits(files=2), ArtifactLimits(depth=1)):
        with pytest.raises(TooLarge):
            take_in(version.folder, tmp_path / "copy", version.digest, limits)
    (version.folder / "manifest.json").write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(Untrusted, match="longer"):
        take_in(version.folder, tmp_path / "copy", version.digest)


def test_a_folder_in_use_is_refused(version: Version, tmp_path: Path) -> None:
    private = tmp_path / "copy"
    private.mkdir()
    take_in(version.folder, private, version.digest)
    with pytest.raises(Refused, match="not empty"):
        take_in(version.folder, private, version.digest)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused):
        take_in(version.folder, tmp_path / "link", version.digest)


def test_measuring_nothing_or_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v" / "files").mkdir(parents=True)
    with pytest.raises(Untrusted, match="holds no file"):
        measure(tmp_path / "v", model="m", version="1.0.0", run_id="r")
    (tmp_path / "v" / "files" / "x").symlink_to("/etc/passwd")
    with pytest.raises(Untrusted, match="link"):
        measure(tmp_path / "v", model="m", version="1.0.0", run_id="r")
