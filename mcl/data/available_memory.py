"""Memory available to this process."""

from collections.abc import Iterator
from pathlib import Path

_FILES = {  # Linux cgroup version -> limit, usage, and the statistic of cached files that can be dropped
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": ("memory.max", "memory.current", "inactive_file"),
}


def available_memory() -> int | None:
    """Return the bytes of memory available without swapping, within container limits; None if unknown."""
    return min((free for free in (_system(), _container()) if free is not None), default=None)


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _container(root: Path = Path("/")) -> int | None:
    """Return the bytes left by this process's control group and those above it (containers, Slurm, systemd)."""
    free = [_free(folder, *files) for folder, files in _groups(root)]
    return min((count for count in free if count is not None), default=None)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folder of each control group, with the names of its files."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # number:controllers:path
        _, controllers, path = line.split(":", 2)
        kind = next((name for name in controllers.split(",") if name in _FILES), None)
        if kind is None:
            continue
        top = root / "sys/fs/cgroup" / kind
        own = top / path.lstrip("/")
        # In a container without its own namespace, the path is the host's, and the group is mounted at the top.
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                yield folder, _FILES[kind]


def _free(folder: Path, limit_file: str, usage_file: str, cached: str) -> int | None:
    """Return the bytes that a group may still allocate; None if it has no limit."""
    try:
        limit = int((folder / limit_file).read_text())
        usage = int((folder / usage_file).read_text())
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):  # no limit is written as "max"
        return None
    droppable = next((int(value) for name, value in lines if name == cached), 0)
    return max(0, limit - usage + droppable)
