"""Files of others: whole and verified, or refused in a sentence that says what to do."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from reference import refuses
from scratch.plumbing import fetch

NAME = "multi30k/val.en.gz"
CONTENT = b"not really a gzip file"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network: a download fails at once unless a test says otherwise."""
    monkeypatch.setenv("SCRATCH_DATA", str(tmp_path))
    monkeypatch.setattr(fetch, "_downloader", lambda: offline)
    return tmp_path


def offline(url: str, output_file: Any, pooch: Any) -> None:
    raise ConnectionError(f"no network for {url}")


def serves(content: bytes) -> Any:
    """A downloader that gets ``content`` from wherever it is sent."""

    def download(url: str, output_file: Any, pooch: Any) -> None:
        Path(output_file).write_bytes(content)

    return lambda: download


def expect(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    checksums = {**fetch.CHECKSUMS, NAME: hashlib.sha256(content).hexdigest()}
    monkeypatch.setattr(fetch, "CHECKSUMS", checksums)


def says_what_to_do(cache: Path, *parts: str) -> None:
    with pytest.raises(ValueError) as caught:
        fetch.local_path(NAME)
    message = str(caught.value)
    for part in (NAME, str(cache), fetch.CHECKSUMS[NAME], "https://", "val.en.gz", *parts):
        assert part in message
    assert "\n" not in message


def test_without_cache_and_network_the_message_says_what_to_put_where(cache: Path) -> None:
    assert not fetch.is_cached(NAME)
    says_what_to_do(cache, str(cache / NAME), "ConnectionError")
    with pytest.raises(ValueError, match="val"):
        fetch.read_lines(NAME)


def test_a_damaged_file_is_not_accepted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, CONTENT)
    path = cache / NAME
    path.parent.mkdir()
    for damaged in (CONTENT[:-1], b"", CONTENT + b"\n"):
        path.write_bytes(damaged)
        assert not fetch.is_cached(NAME)
        says_what_to_do(cache)
    path.write_bytes(CONTENT)
    assert fetch.is_cached(NAME)
    assert fetch.local_path(NAME) == path  # and no network was asked


def test_a_fetched_file_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, CONTENT)
    monkeypatch.setattr(fetch, "_downloader", serves(CONTENT))
    assert fetch.local_path(NAME).read_bytes() == CONTENT
    monkeypatch.setattr(fetch, "_downloader", lambda: offline)
    assert fetch.local_path(NAME) == cache / NAME


def test_a_damaged_file_is_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, CONTENT)
    (cache / NAME).parent.mkdir()
    (cache / NAME).write_bytes(b"half")
    monkeypatch.setattr(fetch, "_downloader", serves(CONTENT))
    assert fetch.local_path(NAME).read_bytes() == CONTENT


def test_a_download_that_is_something_else_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_downloader", serves(b"<html>please log in</html>"))
    says_what_to_do(cache)
    assert not (cache / NAME).exists()
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_a_cache_that_cannot_be_written_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "multi30k").write_text("a file where the folder should be")
    monkeypatch.setattr(fetch, "_downloader", serves(CONTENT))
    says_what_to_do(cache)


def test_unknown_names_are_refused() -> None:
    for name in ("val.en.gz", "../../etc/passwd", "", None):
        refuses(lambda n=name: fetch.local_path(n), f"name is {name!r}")  # type: ignore[misc]
        refuses(lambda n=name: fetch.is_cached(n), f"name is {name!r}")  # type: ignore[misc]


def test_the_cache_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert fetch.cache_folder() == cache
    monkeypatch.delenv("SCRATCH_DATA")
    assert "tested-transformer" in str(fetch.cache_folder())
    monkeypatch.setenv("SCRATCH_DATA", "")  # set to nothing is not the current folder
    assert "tested-transformer" in str(fetch.cache_folder())


def test_every_checksum_is_one_and_every_file_comes_in_two_languages() -> None:
    for name, checksum in fetch.CHECKSUMS.items():
        assert len(checksum) == 64
        assert int(checksum, 16) >= 0
        other = name.replace(".en.", ".fr.") if ".en." in name else name.replace(".fr.", ".en.")
        assert other != name
        assert other in fetch.CHECKSUMS
    assert len(set(fetch.CHECKSUMS.values())) == len(fetch.CHECKSUMS)


def test_a_real_download_that_fails_is_quiet_and_quick(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SCRATCH_DATA", str(cache))
    monkeypatch.setattr(fetch, "_MULTI30K", "http://127.0.0.1:9/")  # where nothing listens
    with pytest.raises(ValueError, match="could not be fetched"):
        fetch.local_path(NAME)
    assert capfd.readouterr().err == ""
