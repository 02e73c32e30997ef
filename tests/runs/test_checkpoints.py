"""Checkpoints: damage is detected, and reading one runs no code."""

import io
import logging
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mcl.errors import UserError
from mcl.runs.checkpoint_files import read_checksum
from mcl.runs.checkpoints import Checkpoints, decode, encode, load, save

STATE = {"step": 3, "weights": torch.arange(2000.0), "names": ["a", "b"], "nothing": None}


class Malicious:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/pwned",)


def test_saved_checkpoint_is_loaded_also_by_plain_torch(tmp_path: Path) -> None:
    save(tmp_path / "new" / "last.pt", STATE)
    for loaded in (load(tmp_path / "new" / "last.pt"), torch.load(tmp_path / "new" / "last.pt", weights_only=True)):
        assert torch.equal(loaded["weights"], STATE["weights"])
        assert (loaded["step"], loaded["names"], loaded["nothing"]) == (3, ["a", "b"], None)
    with zipfile.ZipFile(tmp_path / "new" / "last.pt") as archive:
        assert archive.comment.startswith(b"sha256 ")


def test_flipped_bits_and_truncation_are_detected() -> None:
    content = encode(STATE)
    rng = random.Random(0)
    places = [0, len(content) - 1, len(content) - 73, *(rng.randrange(len(content)) for _ in range(300))]
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << rng.randrange(8)
        with pytest.raises(UserError, match="altered"):
            decode(bytes(altered), "last.pt")
    for size in (0, 1, 72, 73, len(content) - 1, *(rng.randrange(len(content)) for _ in range(50))):
        with pytest.raises(UserError, match="cut short"):
            decode(content[:size], "last.pt")
    with pytest.raises(UserError, match="altered"):
        decode(content + b"\0", "last.pt")


def test_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[str] = []
    monkeypatch.setattr(os, "system", executed.append)
    plain, zipped = tmp_path / "plain.pt", tmp_path / "zipped.pt"
    plain.write_bytes(pickle.dumps(Malicious()))
    torch.save({"step": 1, "learner": Malicious()}, zipped)
    sealed = tmp_path / "sealed.pt"  # whoever makes one knows how to seal it, too
    save(sealed, {"step": 1, "learner": Malicious()})
    for path in (plain, zipped):
        with pytest.raises(UserError, match="not a checkpoint"):
            load(path)
    with pytest.raises(UserError, match="could run code"):
        load(sealed)
    assert executed == []


def test_other_versions_and_other_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mcl.runs.checkpoints.VERSION", 99)
        future = encode(STATE)
    with pytest.raises(UserError, match="of format 3"):
        decode(future, "last.pt")


def test_missing_checkpoint_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"last\.pt cannot be read"):
        load(tmp_path / "last.pt")


def checkpoint_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("keep", "files"), [(1, ["last.pt"]), (2, ["last.pt", "step-4.pt"]), (3, ["last.pt", "step-3.pt", "step-4.pt"])]
)
def test_last_few_are_kept(keep: int, files: list[str], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", tmp_path / "metrics.jsonl", max_checkpoints=keep)
    for step in (1, 2, 2, 3, 4, 5):
        checkpoints.save({**STATE, "step": step})
    assert checkpoint_names(tmp_path / "c") == files
    assert [load(tmp_path / "c" / file)["step"] for file in files] == [5, *(int(f[5]) for f in files[1:])]


def test_newest_intact_checkpoint_is_used_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(tmp_path, tmp_path / "metrics.jsonl", max_checkpoints=3)
    assert checkpoints.newest() is None
    for step in (1, 2, 3):
        checkpoints.save({**STATE, "step": step})
    assert checkpoints.newest()["step"] == 3
    assert caplog.text == ""
    (tmp_path / "last.pt").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest()["step"] == 2
    assert "last.pt is not a checkpoint" in caplog.text
    assert "step-2.pt instead" in caplog.text
    checkpoints.save({**STATE, "step": 5})
    assert checkpoint_names(tmp_path) == ["last.pt", "step-1.pt", "step-2.pt"], "the torn one is not kept"
    for file in tmp_path.iterdir():
        file.write_bytes(b"torn")
    with pytest.raises(UserError, match=r"(?s)No checkpoint can be used.*last.*step-2.*step-1.*resume=never"):
        checkpoints.newest()


def test_checkpoint_with_lost_metrics_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = tmp_path / "metrics.jsonl"
    checkpoints = Checkpoints(tmp_path / "c", metrics, max_checkpoints=2)
    metrics.write_text("line 1\n")
    checkpoints.save({**STATE, "step": 1})
    metrics.write_text("line 1\nline 2\n")
    checkpoints.save({**STATE, "step": 2})
    metrics.write_text("line 1\nline 2\nline 3\n")
    assert checkpoints.newest()["step"] == 2, "lines after the checkpoint are no matter"
    metrics.write_text("line 1\nli")
    assert checkpoints.newest()["step"] == 1
    assert "does not have all lines up to last.pt" in caplog.text
    metrics.write_text("line 0\nline 2\n")
    assert checkpoints.newest()["step"] == 2
    assert "has lost or altered lines" in caplog.text


def test_older_checkpoint_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, tmp_path / "metrics.jsonl", max_checkpoints=2)
    checkpoints.save({**STATE, "step": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"last\.pt: No space left.*Free some space"):
            checkpoints.save({**STATE, "step": 2})
    assert load(tmp_path / "last.pt")["step"] == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_last_few_are_kept_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    checkpoints = Checkpoints(tmp_path, tmp_path / "metrics.jsonl", max_checkpoints=2)
    for step in (1, 2, 3):
        checkpoints.save({**STATE, "step": step})
    assert checkpoint_names(tmp_path) == ["last.pt", "step-2.pt"]
    assert checkpoints.newest()["step"] == 3


def test_checkpoint_can_be_read_from_a_byte_stream() -> None:
    assert torch.load(io.BytesIO(encode(STATE)), weights_only=True)["step"] == 3


def test_checksum_is_read_from_regular_files_alone(tmp_path: Path) -> None:
    save(tmp_path / "last.pt", STATE)
    assert read_checksum(tmp_path / "last.pt") == encode(STATE)[-64:].decode()
    assert read_checksum(tmp_path / "none.pt") is None
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(UserError, match="is not a file"):
        read_checksum(tmp_path / "pipe.pt")
