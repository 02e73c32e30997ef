"""Atomic writes: a reader sees the complete old file or the complete new one."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mcl.errors import UserError
from mcl.files import atomic_file, write_atomically


def disk_full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_and_bytes_are_written_completely(tmp_path: Path) -> None:
    write_atomically(tmp_path / "text", "größer\n")
    write_atomically(tmp_path / "bytes", b"\x00\x01")
    assert (tmp_path / "text").read_bytes() == "größer\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\x01"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]


def test_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_content_is_flushed_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths))[1])
    write_atomically(tmp_path / "file", "content")
    assert events == ["fsync", "replace", "fsync"]  # the file, the move, the folder


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_keeps_the_old_file_and_names_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, disk_full)
    with pytest.raises(UserError, match=r"last\.pt.*Free some space there, then run the same command"):
        write_atomically(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == b"old"


def test_full_disk_inside_torch_save_is_recognized(tmp_path: Path) -> None:
    class FullFile(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _: Any) -> int:
            disk_full()
            return 0

    with pytest.raises(UserError, match="No space left"), atomic_file(tmp_path / "last.pt"):
        torch.save({"weight": torch.zeros(10_000)}, io.BufferedWriter(FullFile()))
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*folder exists"):
        write_atomically(tmp_path / "nowhere" / "file", "content")


def test_error_in_the_block_leaves_no_file_and_is_reraised(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError("weights")

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_overtaken_does_not_move_the_other_file(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    first, second = atomic_file(path), atomic_file(path)
    first.__enter__().write(b"first")
    half = second.__enter__()
    half.write(b"sec")
    with pytest.raises(UserError, match="written by another process"):
        first.__exit__(None, None, None)
    assert not path.exists()
    half.write(b"ond")
    second.__exit__(None, None, None)
    assert path.read_bytes() == b"second"
