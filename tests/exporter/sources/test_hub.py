"""Hub ids: what is asked for, what the cache answers without a network, and every failure in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from helpers import hf_directories
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects

import exporter
from exporter.sources import hub

_REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def cached(cache: Path, **options: Any) -> tuple[Path, hf_directories.State]:
    """A snapshot of org/name as huggingface_hub lays it out: links to blobs."""
    root = cache / "models--org--name"
    snapshot = root / "snapshots" / _REVISION
    for directory in (snapshot, root / "blobs", root / "refs"):
        directory.mkdir(parents=True)
    (root / "refs" / "main").write_text(_REVISION)
    state = hf_directories.save(snapshot, **options)
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(root / "blobs" / f"{number:040x}")
        path.symlink_to(f"../../blobs/{number:040x}")
    return snapshot, state


@pytest.mark.parametrize("options", [{}, {"shard": "20KB"}, {"pickled": True}])
def test_a_cached_model_is_opened_without_a_network(cache: Path, options: dict[str, Any]) -> None:
    snapshot, state = cached(cache, **options)
    assert hub.download("org/name") == snapshot
    opened = exporter.open_checkpoint("org/name")
    assert opened.where == str(snapshot)
    hf_directories.check(snapshot, state)


def test_the_environment_decides_the_cache_and_offline(tmp_path: Path) -> None:
    snapshot, _ = cached(tmp_path / "hub")
    code = (
        "from exporter.sources.hub import download; import sys; print(download('org/name'));"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(snapshot)


def refused(message: str, name: str = "org/name") -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        exporter.open_checkpoint(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_what_is_not_in_the_cache_is_refused(cache: Path) -> None:
    assert not cache.exists()
    refused(
        "^org/name: no such file or directory here: expected all of its files in the hub's cache, since "
        "HF_HUB_OFFLINE is set, found some missing or none there$"
    )


def test_a_snapshot_without_weights_is_refused(cache: Path) -> None:
    snapshot, _ = cached(cache)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(exporter.CheckpointError, match=r"expected one of model\.safetensors, .* in it, found none"):
        exporter.open_checkpoint("org/name")


def test_a_file_of_that_name_comes_first(cache: Path) -> None:
    (cache.parent / "org" / "name").mkdir(parents=True)
    refused("org/name: source: expected config.json or params.json in it, found neither: give the directory")


class Hub:
    """snapshot_download over a repository of these files; what it asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, *files: str) -> None:
        self.files, self.directory, self.fetched, self.revisions = files, directory / _REVISION, set(), []
        self.directory.mkdir()
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self)

    def __call__(self, hub_id: str, revision: str | None, **patterns: Any) -> str:
        assert hub_id == "org/name"
        self.revisions.append(revision)
        for name in filter_repo_objects(self.files, **patterns):
            (self.directory / name).touch()
            self.fetched.add(name)
        return str(self.directory)


_COMMON = ["config.json", "tokenizer.json", "tokenizer.model"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]
_SAFETENSORS = ["model-00001-of-00002.safetensors", "model.safetensors.index.json"]
_OTHER = [
    "README.md",
    "consolidated.safetensors",
    "onnx/model.safetensors",
    "original/params.json",
    "run.py",
    "a.bin",
]


def test_only_what_is_read_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Hub(monkeypatch, tmp_path, *_COMMON, *_SAFETENSORS, *_PICKLED, *_OTHER)
    assert hub.download("org/name") == fake.directory
    assert fake.fetched == {*_COMMON, *_SAFETENSORS}
    assert fake.revisions == [None]


def test_pickles_are_downloaded_where_there_is_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Hub(monkeypatch, tmp_path, *_COMMON, *_PICKLED, *_OTHER)
    assert hub.download("org/name") == fake.directory
    assert fake.fetched == {*_COMMON, *_PICKLED}
    assert fake.revisions == [None, _REVISION]


_RESPONSE: Any = SimpleNamespace(headers={}, status_code=404, request=None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.RepositoryNotFoundError("a\nb", response=_RESPONSE), "found no such repository, or a private one"),
        (
            errors.GatedRepoError("a\nb", response=_RESPONSE),
            "access to the hub's, found a gated repository: hf auth login$",
        ),
        (errors.LocalEntryNotFoundError("a\nb"), "since the hub is out of reach, found some missing or none"),
        (
            errors.HfHubHTTPError("500 broken\nb", response=_RESPONSE),
            "could not be fetched from the hub: 500 broken$",
        ),
        (ConnectionError("refused"), "could not be fetched from the hub: refused$"),
        (OSError(28, "No space left on device"), r"could not be fetched from the hub: .*No space left on device"),
        (RuntimeError(), "could not be fetched from the hub: RuntimeError"),
        (RuntimeError("x" * 300), f"could not be fetched from the hub: {'x' * 200}$"),
    ],
)
def test_failures_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused(f"^org/name: .*{message}")


def test_an_impossible_id_is_refused(cache: Path) -> None:
    assert not cache.exists()
    refused("^org/na--me: no such file or directory here, and could not be fetched from the hub: ", "org/na--me")


def test_without_huggingface_hub_it_is_said_how_to_get_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(cache)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(r"here, and no huggingface_hub to fetch it with: pip install 'export-and-verify\[huggingface\]'$")
