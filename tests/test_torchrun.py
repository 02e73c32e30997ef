"""The variables of torchrun, as it sets them, and as others do."""

import pytest

from mcl.torchrun import local_rank, local_world_size, rank, world_size


def test_variables_of_torchrun_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (world_size(), rank(), local_world_size(), local_rank()) == (8, 5, 4, 1)


@pytest.mark.parametrize("value", [None, "", "1"])
def test_process_that_is_alone_is_the_first(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("RANK", "3")  # of a pod, without torchrun
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert (world_size(), rank(), local_world_size(), local_rank()) == (1, 0, 1, 0)
