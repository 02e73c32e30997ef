"""Cached folders, and available memory."""

import threading
import time
from pathlib import Path

import pytest

from mcl.data import available_memory as memory
from mcl.data.cache import cache_folder, load_or_build
from mcl.errors import UserError


def read(folder: Path) -> str | None:
    path = folder / "text"
    return path.read_text() if path.exists() else None


def build(folder: Path) -> None:
    (folder / "text").write_text("whole")


def test_folder_is_built_once(tmp_path):
    target = tmp_path / "deep" / "target"
    assert load_or_build(target, read, build, option="dataset.root") == "whole"
    assert load_or_build(target, read, lambda folder: pytest.fail("built again"), option="dataset.root") == "whole"


def test_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").write_text("")
    (tmp_path / ".target.lock").write_text("")
    load_or_build(tmp_path / "target", read, build, option="dataset.root")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["text"]
    assert not (tmp_path / ".target.partial").exists()


def test_other_files_in_the_folder_are_kept(tmp_path):
    (tmp_path / "target" / "mine").mkdir(parents=True)
    (tmp_path / "target" / "mine" / "notes").write_text("kept")
    assert load_or_build(tmp_path / "target", read, build, option="dataset.root") == "whole"
    assert (tmp_path / "target" / "mine" / "notes").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["target"]


def test_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path):
    def fail(folder: Path) -> None:
        build(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_build(tmp_path / "target", read, fail, option="dataset.root")
    assert not (tmp_path / "target").exists()
    assert load_or_build(tmp_path / "target", read, build, option="dataset.root") == "whole"


def test_second_process_waits_and_logs_it(tmp_path, caplog):
    inside, results, builds = threading.Event(), [], []

    def slow(folder: Path) -> None:
        builds.append(folder)
        inside.set()
        while "Waiting for another process" not in caplog.text:
            time.sleep(0.01)
        build(folder)

    def work() -> None:
        results.append(load_or_build(tmp_path / "target", read, slow, option="dataset.root"))

    first, second = (threading.Thread(target=work, daemon=True) for _ in range(2))
    first.start()
    assert inside.wait(20)
    second.start()
    for thread in (first, second):
        thread.join(20)
    assert results == ["whole", "whole"]
    assert len(builds) == 1


def test_full_disk_names_the_option(tmp_path):
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left on device.*dataset\.root"):
        load_or_build(tmp_path / "target", read, full, option="dataset.root")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MCL_CACHE")
    assert cache_folder().parts[-1] in ("mcl", "cache")
    assert cache_folder().is_absolute()


@pytest.mark.parametrize(("system", "container", "expected"), [(10, 5, 5), (5, None, 5), (None, None, None)])
def test_available_memory_is_the_tightest_limit_known(monkeypatch, system, container, expected):
    monkeypatch.setattr(memory, "_system", lambda: system)
    monkeypatch.setattr(memory, "_container", lambda: container)
    assert memory.available_memory() == expected


def group(folder: Path, version: int, limit: str, usage: int, cached: int) -> None:
    """Make a Linux control group."""
    names = {1: ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"), 2: ("max", "current", "inactive_file")}
    most, used, inactive = names[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{most}").write_text(f"{limit}\n")
    (folder / f"memory.{used}").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{inactive} {cached}\nfile 2\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ({"": "none", "job": "1000", "job/step": "none"}, 730),  # that of a group above
        ({"": "none", "job": "1000", "job/step": "500"}, 230),
        ({"": "400", "job": "none", "job/step": "none"}, 130),  # at the top, as in most containers
        ({"": "none", "job": "none", "job/step": "none"}, None),
        ({"": "200", "job": "none", "job/step": "none"}, 0),
    ],
)
def test_memory_limits_of_all_groups_of_a_process_count(tmp_path, version, limits, free):
    top = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    none = {1: str(2**63 - 4096), 2: "max"}[version]
    for path, limit in limits.items():
        group(top / path, version, none if limit == "none" else limit, 300, 30)
    (tmp_path / "proc/self").mkdir(parents=True)
    own = {1: "4:memory:/job/step\n1:cpu:/other\n", 2: "0::/job/step\n"}[version]
    (tmp_path / "proc/self/cgroup").write_text(own)
    memory_limits = memory._container(tmp_path)
    assert memory_limits == free if free is not None or version == 2 else memory_limits > 10**18


def test_invisible_control_group_falls_back_to_the_visible_one(tmp_path):
    group(tmp_path / "sys/fs/cgroup", 2, "1000", 300, 0)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/docker/abc\n")
    assert memory._container(tmp_path) == 700
    assert memory._container(tmp_path / "nothing") is None
