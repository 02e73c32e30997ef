"""Read an archive of runs: the files of finished and unfinished runs in one compressed tar file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcl.errors import UserError
from mcl.runs.layout import PROBE, SIGNS_OF_A_RUN
from mcl.runs.reading import Run, find_runs, read_run
from mcl.untrusted.archives import DamagedArchive, unpack_tar

ARCHIVE = "runs.tar.xz"


@contextmanager
def archived_runs(archive: Path) -> Iterator[list[Run]]:
    """Read the runs of an archive. Their files exist until the block ends.

    Raises:
        UserError: The archive is damaged, or would write outside its folder.
    """
    with tempfile.TemporaryDirectory(prefix="mcl-runs-") as name:
        yield unpack_runs(archive, Path(name))


def unpack_runs(archive: Path, folder: Path) -> list[Run]:
    """Unpack an archive into an empty folder and read its runs; raises as `archived_runs` does."""
    try:
        unpack_tar(archive, folder, (*SIGNS_OF_A_RUN, PROBE))
    except (DamagedArchive, OSError) as error:
        raise UserError(f"{archive} cannot be unpacked: {error}") from error
    runs = [read_run(each) for each in find_runs(folder)]
    for run in runs:
        run.shown_folder = archive.parent / run.folder.relative_to(folder)
    return runs
