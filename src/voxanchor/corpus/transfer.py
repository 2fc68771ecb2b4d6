"""One file over HTTP to disk, going on where an earlier attempt stopped."""

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import voxanchor
from voxanchor.errors import DownloadError
from voxanchor.files import write_text
from voxanchor.progress import say, track

TIMEOUT_S = 60.0
ATTEMPTS = 5
"""How often a connection may break in one command before it gives up."""

PAUSE_S = 2.0
"""Before the second attempt; each further one waits twice as long."""

_BLOCK = 1 << 20
_GONE = (http.client.HTTPException, ConnectionError, TimeoutError)


def transfer(url: str, path: Path) -> None:
    """Download a file; until it is whole it is called ``<name>.part`` and the next call goes on with that.

    A server that cannot go on in the middle sends the file from its beginning, and so does one whose file is another
    by now.

    Raises:
        DownloadError: no network, no such file, or a connection that breaks again and again.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: only http and https addresses are fetched")
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _attempt(url, part)
            break
        except urllib.error.HTTPError as error:
            with error:
                raise DownloadError(f"{url}: the server says {error.code} {error.reason}. Try --mirror.") from None
        except urllib.error.URLError as error:
            if attempt == 0:
                raise DownloadError(f"{url}: cannot be reached ({error.reason}). Is there a network?") from None
        except _GONE as error:
            if attempt + 1 < ATTEMPTS:
                say(f"{url}: the connection broke at {_size(part):,} bytes ({_name(error)}); going on")
    else:
        raise DownloadError(
            f"{url}: the connection broke {ATTEMPTS} times. Start the same command again: it goes on at "
            f"{_size(part):,} bytes."
        )
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, 32 hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, track(f"checking {path.name} (MB)", path.stat().st_size // _BLOCK) as advance:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block) // _BLOCK)
    return digest.hexdigest()


def _attempt(url: str, part: Path) -> None:
    """Bring `part` to its whole length."""
    had, known = _size(part), _read_note(part)
    if not known.get("mark"):
        had = 0  # nothing says that the server still has the same file
    with _open(url, had, known) as answer:
        if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        first, total = _range(answer) if goes_on else (0, answer.headers.get("Content-Length"))
        if goes_on and first != had:
            raise DownloadError(
                f"{url}: the server sends another part than was asked for. Remove {part}; try --mirror."
            )
        total, done = None if total is None else int(total), first
        label = f"fetching {part.name.removesuffix('.part')} (MB)"
        with part.open("ab" if goes_on else "wb") as file, track(label, (total or 0) // _BLOCK) as advance:
            # written when the old content is gone, and before the new comes: it always speaks of what is there
            write_text(_note(part), json.dumps({"mark": _mark(answer), "bytes": total}) + "\n")
            advance(done // _BLOCK)
            while block := answer.read(_BLOCK):
                file.write(block)
                advance((done + len(block)) // _BLOCK - done // _BLOCK)
                done += len(block)
    if total is not None and done < total:
        raise ConnectionError(f"{done} of {total} bytes came")


def _open(url: str, had: int, known: dict[str, Any]) -> Any:
    headers = {"User-Agent": f"voxanchor/{voxanchor.__version__}"}
    if had:
        headers |= {"Range": f"bytes={had}-", "If-Range": str(known["mark"])}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # nothing is left to send: all of it is here, unless the file is another
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and had:
            if had == known.get("bytes"):
                return error
            error.close()
            return _open(url, 0, {})
        raise


def _range(answer: Any) -> tuple[int, str | None]:
    """Return the byte that an answer begins with, and how many the whole file has, if that is said."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdigit() else -1, total if total.isdigit() else None


def _mark(answer: Any) -> str:
    """Return what tells this content of the file from another; nothing where the server has no such thing."""
    mark = str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
    return "" if mark.startswith("W/") else mark  # a weak one: two files mean the same, their bytes may differ


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        found = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
