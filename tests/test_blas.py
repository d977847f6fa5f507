"""BLAS's threads: how many by default, limits that nest and cross, and what a container grants."""

from __future__ import annotations

import threading

import pytest

from fastnn import blas
from fastnn.backend import get_backend


class Library:
    """A BLAS with eight threads; like threadpoolctl 3.8 it obeys the first thread that sets it."""

    def __init__(self):
        self.num_threads = 8
        self._controlling = None

    def set_num_threads(self, threads):
        me = threading.current_thread()
        if self._controlling in (None, me):
            self._controlling, self.num_threads = me, threads

    def clear_controlling_thread(self):
        if self._controlling is threading.current_thread():
            self._controlling = None


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(blas, "_library", lambda: library)
    monkeypatch.setattr(blas, "_limits", blas._Limits())
    monkeypatch.setattr(blas, "usable_cores", lambda: 16)
    return library


def test_the_least_limit_counts_and_all_end(library):
    with blas.limited(4):
        assert library.num_threads == 4
        with blas.limited(1):
            assert library.num_threads == 1
            with blas.limited(6):
                assert library.num_threads == 1
        assert library.num_threads == 4
    assert library.num_threads == 8
    with pytest.raises(KeyError), blas.limited(2):
        raise KeyError
    assert library.num_threads == 8


def test_a_limit_never_raises_what_the_caller_has_set(library):
    library.num_threads = 2
    with blas.limited(5):
        assert library.num_threads == 2
    assert library.num_threads == 2


def test_limits_of_several_threads_may_end_in_any_order(library):
    first, second = blas.limited(3), blas.limited(1)
    seen = []

    def in_a_thread(action):
        def run():
            action()
            seen.append(library.num_threads)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    in_a_thread(first.__enter__)
    in_a_thread(second.__enter__)
    in_a_thread(lambda: first.__exit__(None, None, None))
    in_a_thread(lambda: second.__exit__(None, None, None))
    assert seen == [3, 1, 1, 8]


def test_the_real_library_obeys_every_thread():
    library = blas._library()
    if library is None or library.num_threads < 2:
        pytest.skip("NumPy's BLAS has one thread here")
    before, seen = library.num_threads, []
    with blas.limited(1):
        seen.append(library.num_threads)

    def run():
        with blas.limited(1):
            seen.append(library.num_threads)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [1, 1]
    assert library.num_threads == before


def test_the_default_is_what_blas_has_and_the_cores_allow(library, monkeypatch):
    assert blas.default_threads() == 8
    with blas.limited(1):  # fastnn's own limit says nothing about what the user wants
        assert blas.default_threads() == 8
    library.num_threads = 3
    assert get_backend("cpu").threads == 3
    monkeypatch.setattr(blas, "usable_cores", lambda: 2)
    assert get_backend("cpu").threads == 2
    assert get_backend("cpu", threads=1).threads == 1
    assert get_backend("cpu", threads=1000).threads == 2  # at most, as the option says
    monkeypatch.setattr(blas, "_library", lambda: None)
    assert blas.default_threads() == 2
    assert blas.facts()["blas_threads"] == "unknown"


@pytest.mark.parametrize(
    ("files", "groups", "cores"),
    [
        ({}, "0::/\n", float("inf")),
        ({"cpu.max": "max 100000\n"}, "0::/\n", float("inf")),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 4.0),
        ({"cpu/docker/x/cpu.cfs_quota_us": "300000", "cpu/docker/x/cpu.cfs_period_us": "100000"},
         "4:cpuset:/\n3:cpu,cpuacct:/docker/x\n", 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
         "3:cpu,cpuacct:/docker/x\n", float("inf")),
        ({"cpu.max": "nonsense"}, "0::/\n", float("inf")),
    ],
)  # fmt: skip
def test_a_control_group_grants_so_many_cores(tmp_path, files, groups, cores):
    root, listing = tmp_path / "cgroup", tmp_path / "own"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    listing.write_text(groups)
    assert blas._quota(listing, root) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert blas._quota(tmp_path / "absent", tmp_path) == float("inf")


def test_a_routine_that_is_not_exported_has_no_address():
    assert blas.address_of("no_such_routine") is None
