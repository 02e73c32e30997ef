"""A fake Slurm on one machine: ``sbatch`` runs the script of every array task in the background."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SBATCH = r"""#!/bin/bash
id=$(( $(ls "$FAKE_SLURM/scripts" | wc -l) + 1 ))
cp "$1" "$FAKE_SLURM/scripts/$id.sh"
[ -n "$FAKE_SLURM_FULL" ] && { echo "sbatch: error: Batch job submission failed: no such partition" >&2; exit 1; }
array=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$1")
log() { sed -n "s/^#SBATCH --$1=//p" "$FAKE_SLURM/scripts/$id.sh" | sed "s/%A/$id/g; s/%a/$2/g; s/%j/$id/g"; }
task() {
    export SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
    name=$id
    if [ -n "$array" ]; then
        name=${id}_$1
        export SLURM_JOB_ID=$id$1 SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$1
    fi
    while :; do
        echo RUNNING > "$FAKE_SLURM/states/$name"
        state=FAILED
        bash "$FAKE_SLURM/scripts/$id.sh" >> "$(log output "$1")" 2>> "$(log error "$1")" && state=COMPLETED
        rm "$FAKE_SLURM/requeued/$SLURM_JOB_ID" 2> /dev/null || break
    done
    echo $state > "$FAKE_SLURM/states/$name"
}
for i in $(seq 0 "${array:-0}"); do
    task "$i" < /dev/null > /dev/null 2>&1 &
done
echo "Submitted batch job $id"
"""
SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do
    case $1 in
        --output) out=$2; shift 2 ;;
        --error) err=$2; shift 2 ;;
        *) shift ;;
    esac
done
fill() { echo "$1" | sed "s/%A/$SLURM_ARRAY_JOB_ID/g; s/%a/$SLURM_ARRAY_TASK_ID/g; s/%j/$SLURM_JOB_ID/g; s/%t/0/"; }
echo $$ > "$FAKE_SLURM/processes/$SLURM_JOB_ID"
exec "$@" >> "$(fill "$out")" 2>> "$(fill "$err")"
"""
SACCT = r"""#!/bin/bash
echo "JobID|State|NodeList"
cd "$FAKE_SLURM/states" && for job in *; do [ -e "$job" ] && echo "$job|$(cat "$job")|here"; done
"""
SCONTROL = r"""#!/bin/bash
[ "$1" = requeue ] && echo "$2" >> "$FAKE_SLURM/requeues" && touch "$FAKE_SLURM/requeued/${2/_/}"  # 1_0 is 10
"""
COMMANDS = {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scontrol": SCONTROL}


class FakeSlurm:
    """The fake cluster: its submitted scripts, the states of its jobs, and their processes.

    Args:
        folder: A new folder for its commands and files.
        monkeypatch: Puts the commands on PATH.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder = folder
        for name in ("bin", "scripts", "states", "requeued", "processes"):
            (folder / name).mkdir(parents=True)
        for name, text in COMMANDS.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SLURM", str(folder))

    def script(self, job: int = 1) -> str:
        """Return the script of a job, counted from 1."""
        return (self.folder / "scripts" / f"{job}.sh").read_text()

    @property
    def states(self) -> dict[str, str]:
        return {file.name: file.read_text().strip() for file in (self.folder / "states").iterdir()}

    @property
    def requeues(self) -> list[str]:
        file = self.folder / "requeues"
        return file.read_text().split() if file.exists() else []

    def kill(self, job: str, number: signal.Signals) -> None:
        """Send a signal to the process that ``srun`` started for a job."""
        os.kill(int((self.folder / "processes" / job).read_text()), number)


def wait_until(true: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``true()`` holds; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.1)
