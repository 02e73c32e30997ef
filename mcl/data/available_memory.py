"""Memory available to this process."""

from collections.abc import Iterator
from pathlib import Path

_NAMES = {  # by version of Linux control groups: limit, usage, and what of it is cached files that can be dropped
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": ("memory.max", "memory.current", "inactive_file"),
}


def available_memory() -> int | None:
    """Bytes of main memory that can be taken without swapping, container limits included; None where unknown."""
    found = [limit for limit in (_system(), _container()) if limit is not None]
    return min(found, default=None)


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _container(root: Path = Path("/")) -> int | None:
    """What the control groups of this process leave: its own and all above it (containers, Slurm, systemd)."""
    left = [free for folder, names in _groups(root) if (free := _free(folder, *names)) is not None]
    return min(left, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folder of each group, and the names of its files."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # number:controllers:path
        _, controllers, path = line.split(":", 2)
        kind = next((name for name in controllers.split(",") if name in _NAMES), None)
        if kind is None:
            continue
        top = root / "sys/fs/cgroup" / kind
        own = top / path.lstrip("/")
        # In a container without a namespace of its own the path is the host's, and the group is mounted at the top.
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                yield folder, _NAMES[kind]


def _free(folder: Path, limit: str, usage: str, cached: str) -> int | None:
    """Bytes that a group may still take; None where it has no limit."""
    try:
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):  # "max"
        return None
    dropped = next((int(value) for name, value in lines if name == cached), 0)
    return max(0, most - used + dropped)
