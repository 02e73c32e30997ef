"""How much memory there is to use."""

from pathlib import Path


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


def _container() -> int | None:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(limit) if limit.isdigit() else None
