"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from scratch.plumbing.files import write_whole


def test_a_file_is_written_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in ("l'été\n", b"\x00\xff", "", b"x" * 1_000_000):
        write_whole(path, content)
        expected = content.encode() if isinstance(content, str) else content
        assert path.read_bytes() == expected
        assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "b").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "b").stat().st_mode


def test_the_new_file_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "a", list[tuple[str, bytes, bytes]]()
    path.write_bytes(b"old")

    def spy(name: str) -> None:
        real = getattr(os, name)

        def call(*what: object) -> None:
            seen.append((name, path.read_bytes(), (tmp_path / "a.part").read_bytes()))
            real(*what)

        monkeypatch.setattr(f"scratch.plumbing.files.os.{name}", call)

    spy("fsync")
    spy("replace")
    write_whole(path, b"new")
    assert seen == [("fsync", b"old", b"new"), ("replace", b"old", b"new")]
    assert path.read_bytes() == b"new"


def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "a"
    path.write_bytes(b"old")
    for size in (10, 1_000_000):
        (tmp_path / "a.part").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left") as caught:
            write_whole(path, b"x" * size)
        assert str(tmp_path / "a.part") in str(caught.value)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        write_whole(tmp_path / "missing" / "a", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
