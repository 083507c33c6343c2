"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from disk import FULL, full_disk
from reference import refuses
from scratch.plumbing.files import json_lines, json_object, read_log, write_whole


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
    path = tmp_path / "a"
    path.write_bytes(b"old")
    for size in (10, 1_000_000):
        with full_disk(), pytest.raises(OSError, match=FULL) as caught:
            write_whole(path, b"x" * size)
        assert str(tmp_path / "a.part") in str(caught.value)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_planted_link_leads_nowhere(tmp_path: Path) -> None:
    """What lies in the place of the unfinished file is removed, and never written through."""
    path, victim = tmp_path / "a", tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a.part").symlink_to(victim)
    write_whole(path, b"new")
    assert (path.read_bytes(), victim.read_bytes()) == (b"new", b"precious")
    (tmp_path / "a.part").write_bytes(b"half of a file that a killed process left")
    write_whole(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert sorted(tmp_path.iterdir()) == [path, victim]


def test_a_link_planted_in_the_last_moment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, unlink = tmp_path / "victim", Path.unlink
    victim.write_bytes(b"precious")

    def plant(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok=True)
        self.symlink_to(victim)

    monkeypatch.setattr(Path, "unlink", plant)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        write_whole(tmp_path / "missing" / "a", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "text", ["", "5", "[]", "null", '"a"', "{", "[" * 100_000, '{"a":' * 100_000], ids=range(8)
)
def test_what_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    refuses(lambda: json_object(text, "here"), "here", "object")
    (tmp_path / "log").write_text('{"a": 1}\n' + (text or "x"))
    refuses(lambda: read_log(tmp_path / "log"), "log, line 2", "run's log")


def test_json_is_read_line_by_line() -> None:
    assert json_lines('{"a": 1}\n\n{"b": [2]}\n', "here") == [{"a": 1}, {"b": [2]}]
