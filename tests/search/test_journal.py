"""The journal of a search: writes that were interrupted cost nothing, and other files are left alone."""

import json
import resource
import sqlite3
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from mcl.errors import UserError
from mcl.search.storage import open_storage


def study_in(journal: Path) -> Any:
    return optuna.create_study(study_name="s", storage=open_storage(str(journal)), load_if_exists=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    study_in(tmp_path / "a.journal").ask()
    return tmp_path / "a.journal"


def test_fragment_of_a_killed_writer_is_cut_before_the_next_line(journal: Path) -> None:
    whole = journal.read_bytes()
    open_study = study_in(journal)
    with open(journal, "ab") as file:
        file.write(b'{"op_code":4,"wor')
    open_study.ask()  # a process that has read the journal before
    with open(journal, "ab") as file:
        file.write(b'{"op_code":4,"wor')
    study_in(journal).ask()
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    assert [len(each.trials) for each in (open_study, study_in(journal))] == [3, 3]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit to the size of files")
def test_search_goes_on_after_a_full_disk(journal: Path) -> None:
    study = study_in(journal)
    trial = study.ask()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            trial.report(1.0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not journal.read_bytes().endswith(b"\n")
    trial.report(2.0, 2)
    study.tell(trial, 3.0)
    assert study_in(journal).trials[trial.number].value == 3.0


def test_line_that_another_process_is_writing_is_not_cut(journal: Path) -> None:
    study = study_in(journal)
    whole = journal.read_bytes()
    line = whole.splitlines(keepends=True)[-1]
    with FileLock(f"{journal}.lock"):
        with open(journal, "ab") as file:
            file.write(line[:-5])
        second = threading.Thread(target=study.tell, args=[0, 1.0])
        second.start()
        second.join(0.3)
        assert second.is_alive()
        with open(journal, "ab") as file:
            file.write(line[-5:])
    second.join(10)
    assert journal.read_bytes().startswith(whole + line)
    assert study_in(journal).trials[0].value == 1.0


def test_a_database_or_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("create table trials (number)")
    (tmp_path / "notes.txt").write_text("precious, without an end of line")
    (tmp_path / "data.json").write_text('{"a": 1}')
    for file in (tmp_path / "search.db", tmp_path / "notes.txt", tmp_path / "data.json"):
        before = file.read_bytes()
        with pytest.raises(UserError, match=rf"{file.name}: this file is not a journal of a search.*sqlite:///"):
            open_storage(str(file))
        assert file.read_bytes() == before


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    study_in(tmp_path / "empty").ask()
    assert len(study_in(tmp_path / "empty").trials) == 1
