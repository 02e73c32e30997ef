"""Checks that are not repeated: only those that passed, and never those of the user's own modules."""

import pytest

from mcl.config import checks
from mcl.config.checks import check
from mcl.config.passed import Once
from mcl.errors import UserError

NODE = {"_target_": "mcl.training.schedules.Cosine", "warmup_epochs": 3}


def test_node_that_passed_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    check(NODE, path="schedule")
    with monkeypatch.context() as patched:
        patched.setattr(checks, "resolve", lambda *_, **__: pytest.fail("checked again"))
        check(dict(NODE), path="schedule")
    for _ in range(2):
        with pytest.raises(UserError, match=r"schedule\.warmup_epochs=three"):
            check({**NODE, "warmup_epochs": "three"}, path="schedule")


def test_own_modules_are_checked_every_time() -> None:
    Once(["own"], NODE).note()
    assert not Once(["own"], NODE).passed
    Once([], {"own": NODE}).note()
    assert Once([], {"own": NODE}).passed
