"""Read the files that W&B has written offline."""

import json
import subprocess
from pathlib import Path
from typing import Any

Records = list[dict[str, Any]]


def read(place: Path) -> Records:
    """Return the records of a W&B run file, or of the one in a folder, as ``wandb leet inspect`` prints them."""
    from wandb.util import get_core_path

    (file,) = [place] if place.is_file() else place.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
    command += ["--run-file", str(file), str(file.parent)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def read_all(run_dir: Path) -> list[Records]:
    """Return the records of every W&B run file in a run folder, oldest first."""
    return [read(folder) for folder in sorted((run_dir / "wandb").glob("offline-run-*"))]


def history(records: Records) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def run_ids(records: Records) -> list[str]:
    return [record["run"]["run_id"] for record in records if record["type"] == "run"]


def final_summary(records: Records) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for record in records:
        if record["type"] == "summary":
            summary |= record["summary"].get("update", {})
            for removed in record["summary"].get("remove", []):
                summary.pop(removed["key"], None)
    return summary


def logs(records: Records) -> list[str]:
    """Return the lines of the Logs tab."""
    texts = [record["output_logger"]["line"] for record in records if record["type"] == "output_logger"]
    return "".join(texts).splitlines()
