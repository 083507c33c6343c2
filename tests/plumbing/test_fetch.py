"""Files of others: whole and verified, or refused in a sentence that says what to do."""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

import pooch
import pytest
import requests

from reference import refuses
from scratch.plumbing.data import fetch

NAME = "multi30k/val.en.gz"
CONTENT = b"not really a gzip file"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network: a download fails at once unless a test says otherwise."""
    monkeypatch.setenv("SCRATCH_DATA", str(tmp_path))
    monkeypatch.setattr(fetch, "_downloader", lambda: offline)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    return tmp_path


def offline(url: str, output_file: Any, pooch: Any) -> None:
    raise requests.exceptions.ConnectionError(f"no network for {url}")


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
    says_what_to_do(cache, str(cache / "multi30k"), "no network: ConnectionError")
    with pytest.raises(ValueError, match="val"):
        fetch.read_lines(NAME)


def test_the_message_names_every_missing_file_of_the_corpus(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, CONTENT)
    (cache / NAME).parent.mkdir()
    (cache / NAME).write_bytes(CONTENT)  # whole, so that it is not asked for
    with pytest.raises(ValueError, match="could not be fetched") as caught:
        fetch.local_path("multi30k/train.fr.gz")
    message = str(caught.value)
    for name, checksum in fetch.CHECKSUMS.items():
        missing = name.startswith("multi30k/") and name != NAME
        assert (f"{name.partition('/')[2]} (SHA-256 {checksum})" in message) == missing
    assert message.count("https://") == 1


class Answer(OSError):
    """As an answer that is no file is raised by requests."""

    response = type("Response", (), {"status_code": 404})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "(No space left on device)"),
        (PermissionError("not here"), "(PermissionError: not here)"),
        (TimeoutError(), "(no network: TimeoutError)"),
        (Answer("Not Found"), "(the server answers 404)"),
        (RuntimeError("odd"), "(RuntimeError: odd)"),
    ],
)
def test_the_message_says_why(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def download(url: str, output_file: Any, pooch: Any) -> None:
        raise error

    monkeypatch.setattr(fetch, "_downloader", lambda: download)
    says_what_to_do(cache, reason)


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


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_download_that_fails_is_tried_three_times(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, CONTENT)
    urls: list[str] = []

    def download(url: str, output_file: Any, pooch: Any) -> None:
        urls.append(url)
        if len(urls) <= failures:
            raise requests.exceptions.ConnectionError
        Path(output_file).write_bytes(CONTENT)

    monkeypatch.setattr(fetch, "_downloader", lambda: download)
    if failures < 3:
        assert fetch.local_path(NAME).read_bytes() == CONTENT
    else:
        with pytest.raises(
            ValueError, match=r"could not be fetched \(no network: ConnectionError\)"
        ):
            fetch.local_path(NAME)
    assert len(urls) == min(failures + 1, 3)
    assert len(set(urls)) == 1


def test_every_file_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []
    monkeypatch.setattr(fetch, "_downloader", lambda: lambda url, file, pooch: urls.append(url))
    for name in fetch.CHECKSUMS:
        with pytest.raises(ValueError, match=fetch.CHECKSUMS[name]):
            fetch.local_path(name)
        assert urls[-1].startswith("https://raw.githubusercontent.com/")
        assert urls[-1].endswith(name.partition("/")[2])


def test_a_download_that_is_something_else_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_downloader", serves(b"<html>please log in</html>"))
    says_what_to_do(cache, "what came has another SHA-256")
    assert not (cache / NAME).exists()
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_a_cache_that_cannot_be_written_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "multi30k").write_text("a file where the folder should be")
    monkeypatch.setattr(fetch, "_downloader", serves(CONTENT))
    says_what_to_do(cache, "(Not a directory)")


@pytest.mark.parametrize("name", ["a.tsv", "a.gz"])
def test_lines_end_at_newlines_and_nowhere_else(cache: Path, name: str) -> None:
    text = "\ufeffun\r\n\nL'\u00e9t\u00e9\u2028\x85\x0b \rdeux\n trois"
    write = gzip.compress if name.endswith(".gz") else bytes
    (cache / name).write_bytes(write(text.encode()))
    expected = ["un", "", "L'\u00e9t\u00e9\u2028\x85\x0b \rdeux", " trois"]
    assert fetch.text_lines(cache / name) == expected
    (cache / name).write_bytes(write(b""))
    assert fetch.text_lines(cache / name) == []


def test_files_that_are_no_text_are_refused(cache: Path) -> None:
    refuses(lambda: fetch.text_lines(cache / "missing"), "missing", "a text file")
    refuses(lambda: fetch.text_lines(cache), "a text file")
    (cache / "a").write_bytes(b"un\nd\xe9\n")
    refuses(lambda: fetch.text_lines(cache / "a"), "line 2 of", "not UTF-8")
    whole = gzip.compress(b"un" * 99)
    for damaged in (b"un", whole[:-9], whole[:10] + b"\xff" * 20):  # the last as zlib.error
        (cache / "a.gz").write_bytes(damaged)
        refuses(lambda: fetch.text_lines(cache / "a.gz"), "a.gz", "a text file")


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


def test_every_checksum_is_one_and_every_caption_file_comes_in_three_languages() -> None:
    for name, checksum in fetch.CHECKSUMS.items():
        assert len(checksum) == 64
        assert int(checksum, 16) >= 0
        if not name.startswith("multi30k/"):
            continue
        for language in ("en", "fr", "de"):
            assert re.sub(r"\.(en|fr|de)\.", f".{language}.", name) in fetch.CHECKSUMS
    assert len(set(fetch.CHECKSUMS.values())) == len(fetch.CHECKSUMS)


def test_a_real_download_that_fails_is_quiet_and_quick(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SCRATCH_DATA", str(cache))
    monkeypatch.setattr(fetch, "_GITHUB", "http://127.0.0.1:9/")  # where nothing listens
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    with pytest.raises(ValueError, match="could not be fetched"):
        fetch.local_path(NAME)
    assert capfd.readouterr().err == ""
