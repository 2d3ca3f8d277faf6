"""Hashes of files: right always, and computed once while a file stays as it is."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from gifine.inputs import digests


@pytest.fixture
def hashed(tmp_path, monkeypatch) -> list[str]:
    """The files that are read to be hashed, in a cache of the test's own that keeps files of any size at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_KEPT_BYTES", 1)
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)
    forget(monkeypatch)
    found: list[str] = []
    original = hashlib.file_digest

    def file_digest(file, name):
        found.append(Path(file.name).name)
        return original(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    return found


def forget(monkeypatch) -> None:
    """As another process, which has not hashed anything yet."""
    monkeypatch.setattr(digests, "_known", {})


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "gifine" / "digests").glob("*.json"))


def test_it_is_the_sha256_of_bytes_and_suffix(tmp_path, hashed):
    (tmp_path / "a").write_bytes(b"abc")
    assert digests.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert digests.sha256(tmp_path / "a", b"de") == hashlib.sha256(b"abcde").hexdigest()


def test_a_file_is_read_once_by_any_name_in_any_process(tmp_path, hashed, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    found = {digests.sha256(name) for name in (tmp_path / "a", "a", "link", "a")}
    forget(monkeypatch)
    assert found == {digests.sha256(tmp_path / "a")} == {hashlib.sha256(b"abc").hexdigest()}
    assert hashed == ["a"]
    assert len(kept(tmp_path)) == 1


def test_small_files_are_not_kept_for_others(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(digests, "_KEPT_BYTES", 4)
    (tmp_path / "a").write_bytes(b"abc")
    assert digests.sha256(tmp_path / "a") == digests.sha256(tmp_path / "a")
    assert (hashed, kept(tmp_path)) == (["a"], [])


@pytest.mark.parametrize("copies_the_time", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_changed_file_of_the_same_size_is_read_again(tmp_path, hashed, monkeypatch, copies_the_time, in_place):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    then = path.stat().st_mtime_ns
    digests.sha256(path)
    if not in_place:
        path.rename(tmp_path / "old")
    path.write_bytes(b"abd")
    if copies_the_time:
        os.utime(path, ns=(then, then))
    assert digests.sha256(path) == hashlib.sha256(b"abd").hexdigest()
    forget(monkeypatch)
    assert digests.sha256(path) == hashlib.sha256(b"abd").hexdigest()


def test_a_file_that_was_changed_just_now_is_not_kept(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NS", 3600 * 10**9)
    (tmp_path / "a").write_bytes(b"abc")
    digests.sha256(tmp_path / "a")
    digests.sha256(tmp_path / "a")
    assert hashed == ["a", "a"]
    assert kept(tmp_path) == []


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, hashed, monkeypatch):
    path, original = tmp_path / "a", hashlib.file_digest
    path.write_bytes(b"abc")

    def file_digest(file, name):
        path.write_bytes(b"other")
        return original(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    digests.sha256(path)
    monkeypatch.setattr(hashlib, "file_digest", original)
    assert digests.sha256(path) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"path": 1}', '{"path": "PATH", "stamp": 3, "sha256": "00"}', "\x00"],
)
def test_a_damaged_cache_is_passed_over_and_mended(tmp_path, hashed, monkeypatch, content):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    digests.sha256(path)
    (entry,) = kept(tmp_path)
    whole = entry.read_text()
    entry.write_text(content.replace("PATH", str(path)))
    forget(monkeypatch)
    assert digests.sha256(path) == hashlib.sha256(b"abc").hexdigest()
    assert entry.read_text() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, hashed, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    (tmp_path / "a").write_bytes(b"abc")
    for _ in range(2):
        assert digests.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
        forget(monkeypatch)
    assert hashed == ["a", "a"]


def test_many_at_once_leave_one_whole_entry(tmp_path, hashed, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    found: list[str] = []

    def ask() -> None:
        digests._known.clear()
        found.append(digests.sha256(tmp_path / "a"))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(b"abc" * 1000).hexdigest()] * 20
    assert [path.name for path in kept(tmp_path)[0].parent.iterdir()] == [kept(tmp_path)[0].name]


def test_what_is_no_file_is_an_error_and_never_waited_for(tmp_path, hashed):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match=r"Is a directory|No such file|not a regular file"):
            digests.sha256(path)
