"""Files of others that the book trains on: fetched once, verified by checksum, then kept."""

import gzip
import zlib
from pathlib import Path
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.extras import needs

__all__ = ["CHECKSUMS", "cache_folder", "is_cached", "local_path", "read_lines", "text_lines"]

_GITHUB = "https://raw.githubusercontent.com/"
_FOLDERS = {  # of the web, by folder of the cache or by file
    "multi30k": "multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/",
    "tatoeba/hin.txt": "namanmistry/Englist-to-Hindi/f279fcf7f8bea829f012da3a9f283bc2f9bbbb49/",
    "tatoeba/fra-eng.zip": "modelexlab/data/adddaf33ac35572bcfeb421efec29435e7ea9332/",
    "tatoeba/fra.txt": (
        "Soubhagya264/Language_Translator-Encoder-Decoder-/"
        "f6c89651306aa93d2f0f0447ce15b553a530abb0/"
    ),
}
RETRIES = 2  # of a download that fails, after one second and after two more
CHECKSUMS = {
    "multi30k/train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "multi30k/train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "multi30k/val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "multi30k/val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "multi30k/test_2016_flickr.en.gz": (
        "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"
    ),
    "multi30k/test_2016_flickr.fr.gz": (
        "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90"
    ),
    "multi30k/train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "multi30k/val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "multi30k/test_2016_flickr.de.gz": (
        "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"
    ),
    "tatoeba/hin.txt": "9f8cbf8d22bf4198c6ee13cad755af6e10f2bef1a1b909a7e08389ce576ba909",
    "tatoeba/fra-eng.zip": "161c93f18da3a7e6df611ed961426613260de8af06ccf8c79c977afe5135ac44",
    "tatoeba/fra.txt": "ab1d28db65ab062e06d7fc3b399872d431becfb8af152268dc4b6cdf50260530",
}


def _store() -> Any:
    """Return pooch's view of the files: where they are kept, where they come from, their sums."""
    needs("data")
    import pooch  # here, because its import warns in every notebook that has no ipywidgets

    pooch.get_logger().setLevel("WARNING")  # the bar says what pooch's own log would say again
    urls = {}
    for name in CHECKSUMS:
        urls[name] = _GITHUB + _web_folder(name) + name.partition("/")[2]
    settings = {"env": "SCRATCH_DATA", "registry": CHECKSUMS, "retry_if_failed": RETRIES}
    return pooch.create(pooch.os_cache("tested-transformer"), _GITHUB, urls=urls, **settings)


def _web_folder(name: str) -> str:
    """Return the folder of the web that the file ``name`` of the cache comes from."""
    return _FOLDERS.get(name) or _FOLDERS[name.partition("/")[0]]


def cache_folder() -> Path:
    """Return where fetched files live: ``$SCRATCH_DATA``, or a folder in the user's cache."""
    return Path(_store().abspath)


def is_cached(name: str) -> bool:
    """Say whether the file ``name`` is in the cache and whole, without asking the network.

    Raises ValueError for a name that the book does not know.
    """
    checks.one_of("name", name, tuple(CHECKSUMS))
    path = cache_folder() / name
    import pooch

    return path.is_file() and pooch.file_hash(str(path)) == CHECKSUMS[name]


def local_path(name: str) -> Path:
    """Return the verified file ``name``, fetching it if it is not in the cache.

    Raises ValueError for a name that the book does not know, and when the file is neither in
    the cache nor to be had: the message says why, and which files of its corpus to put where.
    """
    checks.one_of("name", name, tuple(CHECKSUMS))
    folder, part = cache_folder(), name.partition("/")[0]
    try:
        return Path(_store().fetch(name, downloader=_downloader()))
    except Exception as error:  # noqa: BLE001 - whatever the network does, say what helps
        raise ValueError(
            f"{name} is not whole in {folder} and could not be fetched ({_reason(error)}): "
            f"save from {_GITHUB}{_web_folder(name)} into {folder / part}: {_missing(part)}"
        ) from None


def _reason(error: Exception) -> str:
    """Say in a few words why a download has failed."""
    answer = getattr(getattr(error, "response", None), "status_code", None)
    if answer is not None:
        return f"the server answers {answer}"
    if isinstance(error, ValueError):  # pooch's
        return "what came has another SHA-256"
    if isinstance(error, PermissionError) or not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    return error.strerror or f"no network: {type(error).__name__}"  # only the disk has a text


def _missing(part: str) -> str:
    """List the files of a folder that are not in the cache, with their checksums."""
    names = [name for name in CHECKSUMS if name.startswith(f"{part}/") and not is_cached(name)]
    return ", ".join(f"{name.partition('/')[2]} (SHA-256 {CHECKSUMS[name]})" for name in names)


def _downloader() -> Any:
    import pooch

    return pooch.HTTPDownloader(progressbar=True, timeout=30)


def read_lines(name: str) -> list[str]:
    """Return the lines of the text file ``name`` of the cache, without their ends."""
    return text_lines(local_path(name))


def text_lines(path: str | Path) -> list[str]:
    """Return the lines of a UTF-8 text file, gzipped if its name ends in .gz, without their ends.

    A line ends at a newline and nowhere else.  Raises ValueError when ``path`` is no such file.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} of {path} is not UTF-8, expected UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"path is {str(path)!r}, expected a text file ({error})") from None
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
