"""The runs of a study as one compressed file, from which its report can be drawn again."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from mcl.reports.row_labels import place_labels
from mcl.runs.identity import config_hash
from mcl.runs.layout import CONFIG, SIGNS_OF_A_RUN
from mcl.runs.probe_record import find_probes
from mcl.runs.reading import Run
from mcl.runs.received import file_name
from mcl.runs.stored_config import encode_config, without_absolute_paths
from mcl.studies.study import Study
from mcl.untrusted.limits import MAX_METRICS
from mcl.untrusted.regular_files import read_bytes


def pack_runs(runs: Iterable[Run]) -> bytes:
    """Return a tar archive of the files that a report reads. The same runs give the same bytes.

    Unpacked, it is a folder ``runs`` with the usual run folders. Runs without a readable configuration are left out.
    """
    members = {
        f"{_folder(run)}/{name}": _packed_config(run) if name == CONFIG else read_bytes(run.folder / name, MAX_METRICS)
        for run in runs
        if run.config
        for name in (*SIGNS_OF_A_RUN, *(file.relative_to(run.folder).as_posix() for file in find_probes(run.folder)))
        if (run.folder / name).is_file()
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz", preset=9) as archive:
        for name, data in sorted(members.items()):
            member = tarfile.TarInfo(name)  # owned by nobody, of 1970
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def _packed_config(run: Run) -> bytes:
    """Return the settings of a run as if it had been trained in ``runs``; where it really was stays private."""
    config = {**run.config, "runs": "runs"}
    portable = without_absolute_paths(config)
    # The hash of an older run, which has no checksum of its initial weights, needs their path.
    return encode_config(portable if config_hash(portable) == config_hash(config) else config).encode()


def show_as_packed(runs: Iterable[Run], place: Path) -> None:
    """Let reports name the folders that runs will have when an archive of them is unpacked in ``place``."""
    for run in runs:
        if run.config:
            run.shown_folder = place / _folder(run)


def needs_archive(study: Study) -> bool:
    """Return whether a planned run of a study has no folder here; of a search, which plans none, always."""
    return study.search is not None or not all(planned.folder.is_dir() for planned in (*study.runs, *study.teachers))


def _folder(run: Run) -> str:
    labels = [part for label in place_labels(run).values() for part in label.split("/")]
    return "/".join(["runs", *map(file_name, [*labels, run.folder.name])])
