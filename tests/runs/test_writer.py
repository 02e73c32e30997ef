"""The record of a run: strict JSON, whatever a message or a number is."""

import json
from pathlib import Path

from mcl.runs.summary import read_failure
from mcl.runs.writer import RunWriter, strict_json


def test_a_file_name_that_is_not_utf8_does_not_hide_why_a_run_stopped(tmp_path: Path) -> None:
    message = "caf\udce9.png is damaged"  # as os.fsdecode gives it
    RunWriter(tmp_path).fail("failed", ValueError(message))
    failure = read_failure(tmp_path)
    assert failure is not None
    assert failure["message"] == message


def test_attempt_that_is_killed_does_not_keep_the_reason_of_the_one_before(tmp_path: Path) -> None:
    RunWriter(tmp_path).fail("interrupted", KeyboardInterrupt())
    RunWriter(tmp_path, step=3)  # killed: neither `finish` nor `fail` follows
    assert read_failure(tmp_path) is None


def test_numbers_that_are_not_finite_are_null() -> None:
    assert json.loads(strict_json({"a": [float("nan"), 1.5, float("inf")]}), parse_constant=int) == {
        "a": [None, 1.5, None]
    }
