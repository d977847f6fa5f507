"""Files of data on disk: which may be opened at all, and how much they are believed to hold."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from fastnn.errors import DataError

MAX_BYTES = 4 << 30  # no header is believed beyond this many bytes of values
DEFLATE_LIMIT = 1032  # one compressed byte cannot stand for more bytes than this (zlib's notes)


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open for reading bytes; what the system refuses becomes a `DataError`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise DataError(f"{path}: this is {kind}; expected a file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: too large for the memory of this machine") from error
