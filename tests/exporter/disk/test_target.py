"""The path that a caller gives as target is checked before anything is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from exporter.disk.locks import lock_target
from exporter.disk.target import require_replaceable, resolve_directory_target, resolve_target
from exporter.errors import WriteError


@pytest.mark.parametrize("resolve", [resolve_target, resolve_directory_target])
def test_nothing_there_is_a_target_and_links_are_followed(tmp_path: Path, resolve: object) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("real", "link"):
        assert resolve(tmp_path / name, overwrite=False) == tmp_path / "real"  # type: ignore[operator]


@pytest.mark.parametrize("resolve", [resolve_target, resolve_directory_target])
@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_a_circle_and_missing_parents_are_refused(tmp_path: Path, resolve: object, overwrite: bool) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name, message in {
        "a": "expected a file or nothing, found links that lead in a circle",
        "no/out": f"OUT: expected a directory at {tmp_path / 'no'}, found none: create it with "
        f"`mkdir -p {tmp_path / 'no'}`",
    }.items():
        with pytest.raises(WriteError) as caught:
            resolve(tmp_path / name, overwrite=overwrite)  # type: ignore[operator]
        assert str(caught.value) == f"{tmp_path / name}: {message}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_exists_is_a_target_only_with_overwrite(tmp_path: Path) -> None:
    file, directory = tmp_path / "file", tmp_path / "directory"
    file.touch()
    directory.mkdir()
    inside = directory / "model.bin"
    hint = "add --overwrite (in Python: overwrite=True) to replace it"
    for resolve, own, other, kinds in (
        (resolve_target, file, directory, ("a file", "a regular file", f"give a path inside it, such as {inside}")),
        (resolve_directory_target, directory, file, ("a directory", "a directory", "choose another path")),
    ):
        assert resolve(own, overwrite=True) == own
        with pytest.raises(WriteError) as caught:
            resolve(own, overwrite=False)
        assert str(caught.value) == f"{own}: OUT: expected nothing there, found {kinds[0]}: {hint}"
        for overwrite in (False, True):
            with pytest.raises(WriteError) as caught:
                resolve(other, overwrite=overwrite)
            found = "a directory" if other is directory else "a file"
            assert str(caught.value) == f"{other}: OUT: expected {kinds[1]} or nothing, found {found}: {kinds[2]}"


def test_only_an_empty_directory_or_a_flat_one_with_a_config_is_replaceable(tmp_path: Path) -> None:
    target = tmp_path / "model"
    require_replaceable(target)
    target.mkdir()
    require_replaceable(target)
    (target / "thesis.tex").touch()
    with pytest.raises(WriteError) as caught:
        require_replaceable(target)
    assert str(caught.value) == (
        f"{target}: expected an empty directory or one with a config.json to overwrite, found neither; "
        "choose another path"
    )
    (target / "config.json").touch()
    require_replaceable(target)
    for name in (".git", ".a"):
        (target / name).mkdir()
    with pytest.raises(WriteError) as caught:
        require_replaceable(target)
    assert str(caught.value) == (
        f"{target}: expected no directories in the directory to overwrite, found .a; choose another path"
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_is_not_looked_at_while_another_process_replaces_it(tmp_path: Path, *, overwrite: bool) -> None:
    target, aside = tmp_path / "model", tmp_path / "aside"
    target.mkdir()
    (target / "other").write_bytes(b"no model")
    found: list[object] = []

    def look() -> None:
        try:
            found.append(resolve_directory_target(target, overwrite=overwrite))
        except WriteError as error:
            found.append(error)

    looking = threading.Thread(target=look)
    with lock_target(target):
        target.rename(aside)
        looking.start()
        looking.join(0.5)
        assert found == []
        aside.rename(target)
    looking.join()
    assert isinstance(found[0], WriteError)
    assert "config.json" in str(found[0]) if overwrite else "found a directory" in str(found[0])


def test_a_directory_that_may_not_be_changed_is_not_replaceable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may change any: so the system's answer is replaced."""
    asked: list[tuple[Path, int]] = []

    def answer(path: Path, mode: int) -> bool:
        asked.append((path, mode))
        return len(asked) == 1

    monkeypatch.setattr(os, "access", answer)
    require_replaceable(tmp_path)
    with pytest.raises(WriteError) as caught:
        require_replaceable(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be overwritten: permission denied"
    assert asked == [(tmp_path, os.W_OK | os.X_OK)] * 2
