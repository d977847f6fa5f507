"""Downloads from a server on this machine: nothing but a complete, checked file gets its name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastnn.data import download as module
from fastnn.data.download import answers, download, fetch
from fastnn.errors import DataError

BODY = bytes(range(256)) * 4000


class Stand(BaseHTTPRequestHandler):
    """Serves /good/, and beside it every way that a mirror can be bad."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(302 if kind == "moved" else 200)
        if kind == "moved":
            self.send_header("Location", "http://127.0.0.1:1/plain")
        if kind in ("good", "wrong", "moved"):
            self.send_header("Content-Length", str(len(BODY)))
        if kind == "short":
            self.send_header("Content-Length", str(len(BODY) + 1))
        self.end_headers()
        if kind == "endless":
            try:
                while True:
                    self.wfile.write(BODY)
            except OSError:
                return
        self.wfile.write(BODY[::-1] if kind == "wrong" else BODY)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def stand() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stand)
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTNN_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def check(path: Path, shown: str) -> None:
    if path.read_bytes() != BODY:
        raise DataError(f"{shown}: wrong content")


def test_a_good_file_arrives_with_progress(tmp_path: Path, stand: str) -> None:
    seen: list[tuple[str, int, int | None]] = []
    folder = tmp_path / "new" / "folder"
    fetch("a.gz", folder, [f"{stand}good/"], check=check, progress=lambda *step: seen.append(step))
    assert (folder / "a.gz").read_bytes() == BODY
    assert list(folder.iterdir()) == [folder / "a.gz"]
    assert seen[-1] == ("a.gz", len(BODY), len(BODY))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_length_need_not_be_announced(tmp_path: Path, stand: str) -> None:
    seen: list[int | None] = []
    fetch(
        "a", tmp_path, [f"{stand}silent/"], check=check, progress=lambda _n, _d, t: seen.append(t)
    )
    assert set(seen) == {None}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("wrong", "wrong content"),
        ("short", f"found {len(BODY)} bytes, expected {len(BODY) + 1}"),
        ("missing", "404"),
        ("endless", "more than 2000000 bytes"),
        ("moved", "redirected to http://127.0.0.1:1/plain"),
    ],
)
def test_a_bad_mirror_is_passed_over(tmp_path: Path, stand: str, kind: str, told: str) -> None:
    mirrors = [f"{stand}{kind}/"]
    with pytest.raises(DataError) as caught:
        fetch("a.gz", tmp_path, mirrors, check=check, limit=2_000_000)
    assert "a.gz: no mirror gave the right file" in str(caught.value)
    assert f"{mirrors[0]}a.gz" in str(caught.value)
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    fetch("a.gz", tmp_path, [*mirrors, f"{stand}good/"], check=check, limit=2_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]


def test_a_mirror_that_refuses_the_connection(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:1/a: .*refused"):
        fetch("a", tmp_path, ["http://127.0.0.1:1/"], check=check)


def test_a_slow_transfer_ends(tmp_path: Path, stand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_SECONDS", 0.0)
    with pytest.raises(DataError, match="no end in 0 seconds"):
        fetch("a", tmp_path, [f"{stand}endless/"], check=check)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path, stand: str) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("a", tmp_path, [f"{stand}good/"], check=check, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, stand: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written: .*FASTNN_CACHE_DIR"):
        fetch("a", tmp_path / "file" / "folder", [f"{stand}good/"], check=check)


def test_two_at_once_do_not_meet(tmp_path: Path, stand: str) -> None:
    both = threading.Barrier(2)

    def checked_together(path: Path, shown: str) -> None:
        both.wait(timeout=10)
        check(path, shown)

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(fetch, "a", tmp_path, [f"{stand}good/"], check=checked_together)
            for _ in range(2)
        ]
        for run in runs:
            run.result(timeout=20)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_any_answer_counts(stand: str) -> None:
    good, dead = f"{stand}good/a", "http://127.0.0.1:1/a"
    assert answers([good, dead], seconds=5) == {good}


def test_a_lookup_that_hangs_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def ask(url: str, seconds: float, heard: object) -> None:
        never.wait(timeout=30)

    monkeypatch.setattr(module, "_ask", ask)
    started = time.perf_counter()
    assert answers(["https://a.invalid/", "https://b.invalid/"], seconds=0.05) == set()
    assert time.perf_counter() - started < 2
    never.set()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], list[tuple[str, list[str]]]]:
    """Says which mirrors answer, and records what is then fetched from where."""

    def prepare(urls: set[str]) -> list[tuple[str, list[str]]]:
        fetched: list[tuple[str, list[str]]] = []
        monkeypatch.setattr(module, "answers", lambda _urls, *, seconds: urls)
        monkeypatch.setattr(
            module, "fetch", lambda name, folder, mirrors, **_: fetched.append((name, mirrors))
        )
        return fetched

    return prepare


MIRRORS = ("https://a.invalid/x/", "https://b.invalid/", "https://c.invalid/")


def test_mirrors_that_answer_are_tried_in_order(tmp_path: Path, answering: Callable) -> None:
    fetched = answering({"https://c.invalid/f", "https://a.invalid/x/f"})
    download(["f", "g"], tmp_path, MIRRORS, check=check)
    alive = ["https://a.invalid/x/", "https://c.invalid/"]
    assert fetched == [("f", alive), ("g", alive)]
    download([], tmp_path, MIRRORS, check=check)
    assert len(fetched) == 2


def test_no_network(tmp_path: Path, answering: Callable) -> None:
    fetched = answering(set())
    with pytest.raises(DataError, match=r"no network: none of a\.invalid, b\.invalid, c\.invalid"):
        download(["f"], tmp_path, MIRRORS, check=check)
    assert fetched == []


@pytest.mark.parametrize("value", ["1", "yes", " "])
def test_offline_forbids(
    tmp_path: Path, answering: Callable, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    fetched = answering({"https://a.invalid/x/f"})
    monkeypatch.setenv("FASTNN_OFFLINE", value)
    with pytest.raises(DataError, match="forbidden by FASTNN_OFFLINE"):
        download(["f"], tmp_path, MIRRORS, check=check)
    assert fetched == []
    for harmless in ("0", ""):
        monkeypatch.setenv("FASTNN_OFFLINE", harmless)
        download(["f"], tmp_path, MIRRORS, check=check)
    assert len(fetched) == 2


def test_only_https(tmp_path: Path, stand: str) -> None:
    with pytest.raises(DataError, match="begins with https://"):
        download(["a"], tmp_path, [f"{stand}good/"], check=check)
    assert list(tmp_path.iterdir()) == []
