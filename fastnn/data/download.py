"""Fetching files over https: several mirrors, checked before they get their name, never a partial.

Without a network the whole costs seconds: all mirrors are asked at once from threads that may be
left behind, since a name look-up that hangs cannot be interrupted.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from fastnn.errors import DataError

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

Progress = Callable[[str, int, int | None], None]  # file name, bytes done, bytes in all if known
Check = Callable[[Path, str], None]  # file, name for messages: raises DataError if it is not right

SIZE_LIMIT = 256 << 20  # bytes in one file; the largest of the named sets has 26 MB
_ANSWER_SECONDS = 6.0
_STALL_SECONDS = 20.0
_FILE_SECONDS = 1800.0
_CHUNK = 1 << 18


def download(
    names: Sequence[str],
    folder: Path,
    mirrors: Sequence[str],
    *,
    check: Check,
    progress: Progress | None = None,
) -> None:
    """Fetch files that stand under the same names at each mirror into `folder`.

    Raises `DataError` if downloads are forbidden, nothing answers, or no mirror has the right file.
    """
    if not names:
        return
    if os.environ.get("FASTNN_OFFLINE", "0") not in ("", "0"):
        raise DataError("downloads are forbidden by FASTNN_OFFLINE; unset it to allow them")
    for mirror in mirrors:
        if not mirror.startswith("https://"):
            raise DataError(f"{mirror}: expected a mirror whose address begins with https://")
    answering = answers([mirror + names[0] for mirror in mirrors], seconds=_ANSWER_SECONDS)
    reached = [mirror for mirror in mirrors if mirror + names[0] in answering]
    if not reached:
        hosts = ", ".join(mirror.split("/")[2] for mirror in mirrors)
        raise DataError(f"no network: none of {hosts} answers")
    for name in names:
        fetch(name, folder, reached, check=check, progress=progress)


def answers(urls: Sequence[str], *, seconds: float) -> set[str]:
    """Those addresses that give any answer to a HEAD request within so many seconds."""
    heard: SimpleQueue[tuple[str, bool]] = SimpleQueue()
    for url in urls:
        threading.Thread(target=_ask, args=(url, seconds, heard), daemon=True).start()
    deadline = time.monotonic() + seconds
    reached: set[str] = set()
    for _ in urls:
        try:
            url, answered = heard.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if answered:
            reached.add(url)
    return reached


def fetch(
    name: str,
    folder: Path,
    mirrors: Sequence[str],
    *,
    check: Check,
    progress: Progress | None = None,
    limit: int = SIZE_LIMIT,
) -> None:
    """Put one file into `folder`, from the first mirror whose copy passes `check`.

    The file gets its name only when it is complete and checked, in one step: another process sees
    all of it or nothing, and two that fetch at once do not meet.
    """
    faults: list[str] = []
    for mirror in mirrors:
        part = folder / f".{name}.{secrets.token_hex(6)}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _receive(mirror + name, part, name, limit, progress)
            check(part, mirror + name)
            part.replace(folder / name)
            return
        except DataError as error:
            faults.append(str(error))
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written: {error.strerror or error}; "
                "set FASTNN_CACHE_DIR to a folder that can"
            ) from error
        finally:
            with suppress(OSError):  # mostly it is not there any more
                part.unlink()
    raise DataError(f"{name}: no mirror gave the right file: " + "; ".join(faults))


def _ask(url: str, seconds: float, heard: SimpleQueue[tuple[str, bool]]) -> None:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    try:
        _opener().open(Request(url, method="HEAD"), timeout=seconds).close()
    except HTTPError as error:  # refusing HEAD is an answer too
        error.close()
        heard.put((url, True))
    except (OSError, HTTPException, ValueError):
        heard.put((url, False))
    else:
        heard.put((url, True))


def _receive(url: str, part: Path, name: str, limit: int, progress: Progress | None) -> None:
    """Write the body of `url` to a new file; an `OSError` is about that file, not the network."""
    deadline = time.monotonic() + _FILE_SECONDS
    done = 0
    with part.open("xb") as file:
        for piece, total in _body(url):
            done += len(piece)
            if done > limit:
                raise DataError(f"{url}: found more than {limit} bytes, expected at most those")
            if time.monotonic() > deadline:
                raise DataError(f"{url}: found no end in {_FILE_SECONDS:.0f} seconds, expected one")
            file.write(piece)
            if progress is not None:
                progress(name, done, total)


def _body(url: str) -> Iterator[tuple[bytes, int | None]]:
    """The pieces of what `url` holds, each with the announced length of the whole, if any."""
    from http.client import HTTPException

    try:
        with _opener().open(url, timeout=_STALL_SECONDS) as response:
            announced = response.headers.get("Content-Length", "")
            total = int(announced) if announced.isdecimal() else None
            done = 0
            while piece := response.read(_CHUNK):
                done += len(piece)
                yield piece, total
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(f"{url}: {error}") from error
    if total is not None and done != total:
        raise DataError(f"{url}: found {done} bytes, expected {total}; the transfer was cut short")


def _opener() -> OpenerDirector:
    """Opens addresses as `urllib.request.urlopen` does, proxies too, but no redirect off https."""
    from http.client import HTTPMessage
    from typing import IO
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class HttpsRedirects(HTTPRedirectHandler):
        def redirect_request(
            self,
            req: Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: HTTPMessage,
            newurl: str,
        ) -> Request | None:
            if not newurl.startswith("https://"):
                raise HTTPError(req.full_url, code, f"redirected to {newurl}", headers, fp)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(HttpsRedirects)
