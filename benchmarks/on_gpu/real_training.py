"""A real training: CIFAR-10 from JPEG files, by `train.py`, with as many epochs as fit into the time."""

import json
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcl.reports.markdown import table
from mcl.runs.layout import SUMMARY
from on_gpu.setup import NotAvailable, Setup, one_line

TITLE = "A real training"
EPOCHS = 300  # of the published settings
START = 20.0  # seconds of start-up, the images being decoded
PILOT = 2  # epochs that tell how long one takes
ENDING = 15.0  # seconds in which a run that is stopped may save
SAFETY = 0.9  # of the time left that training is planned for


def measure(setup: Setup, *, pair: str, precision: str, seconds: float) -> dict[str, Any]:
    """Train a pair by L-MCL and return its accuracy, epoch by epoch.

    A pilot of a few epochs tells how many fit; the schedule of the learning rate covers exactly these.
    """
    from on_gpu.commands import metrics, run

    root = _folder(setup)
    options = [
        *("dataset=folder", f"dataset.root={root}", "dataset.name=cifar10_jpeg", f"pair={setup.size(pair, 'resnet8')}"),
        *("loss=lmcl", "tracking=none", f"trainer.device={setup.device}", f"trainer.precision={precision}"),
        *("optimizer.lr=0.1", "optimizer.weight_decay=5e-4", f"trainer.batch_size={setup.size(128, 8)}"),
        *(["dataset.limit=8"] if setup.tiny else []),
    ]

    def train(name: str, epochs: int, limit: float) -> tuple[Path, Any]:
        folder = setup.out / "training" / name
        shutil.rmtree(folder, ignore_errors=True)
        done = run(setup, ["train.py", *options, f"trainer.epochs={epochs}", f"hydra.run.dir={folder}"], limit)
        return folder, done

    start = time.monotonic()
    pilot, done = train("pilot", setup.size(PILOT, 1), seconds)
    rows = metrics(pilot)
    times = [row["time"] for row in rows if any(name.startswith("test/") for name in row)]
    if done.status != 0 or not times:
        raise NotAvailable(f"train.py: {done.last_line}")
    summary = json.loads((pilot / SUMMARY).read_text())
    epoch = (times[-1] - times[-2]) if len(times) > 1 else summary["seconds"]
    left = seconds - (time.monotonic() - start) - ENDING
    epochs = int(min(EPOCHS, SAFETY * (left - START) / epoch)) if not setup.tiny else 1
    folder = pilot
    if epochs > PILOT:
        folder, done = train("run", epochs, left)
    else:
        epochs = setup.size(PILOT, 1)
    curve = [
        {"epoch": row["epoch"], "top1": {name: row[key] for key, name in _accuracies(row).items()}}
        for row in metrics(folder)
        if _accuracies(row)
    ]
    finished = (folder / SUMMARY).exists()
    return {
        "epochs": curve[-1]["epoch"] if curve else 0,
        "planned": epochs,
        "published": EPOCHS,
        "finished": finished,
        "curve": curve,
        "seconds_of_an_epoch": epoch,
        "summary": json.loads((folder / SUMMARY).read_text()) if finished else None,
    }


def _accuracies(row: dict[str, Any]) -> dict[str, str]:
    """Return the metrics that are accuracies of whole networks and of the ensemble, with the names of these."""
    pattern = re.compile(r"test/(\w+)/backbone/top1|test/(ensemble)/top1")
    found = {key: pattern.fullmatch(key) for key in row}
    return {key: match[1] or match[2] for key, match in found.items() if match}


def _folder(setup: Setup) -> Path:
    """Return the folder of the images; an archive is unpacked beside the results."""
    path = setup.images
    if path is None and setup.tiny:
        return _generated(setup.out / "generated")
    if path is None:
        raise NotAvailable("no images were given: --images PATH")
    if path.is_dir():
        return path
    if not path.is_file():
        raise NotAvailable(f"--images {path}: there is no such file or folder")
    folder = setup.out / "images"
    if not (done := folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            is_zip = zipfile.is_zipfile(path)
            with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
                archive.extractall(folder, **({} if is_zip else {"filter": "data"}))
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise NotAvailable(f"--images {path}: {one_line(error)}") from None
        done.touch()
    inner = [each for each in folder.iterdir() if each.is_dir()]
    return inner[0] if len(inner) == 1 else folder  # archives often hold one folder


def _generated(folder: Path) -> Path:
    """Write a few images for a rehearsal, unless they are there."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label in ("one", "other"):
            (place := folder / split / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.jpg")
    return folder


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    last = found["curve"][-1]["top1"] if found["curve"] else {}
    accuracies = ", ".join(f"{name} {value:.2f} %" for name, value in last.items())
    return f"{found['epochs']} of {found['published']} epochs, {found['seconds_of_an_epoch']:.1f} s each; {accuracies}"


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    lines = []
    for row in rows:
        found, arguments = row["found"], row["arguments"]
        length = (
            f"All {found['published']} epochs of the published settings."
            if found["epochs"] >= found["published"]
            else f"**{found['epochs']} epochs, not the published {found['published']}**: no more fit into the time."
        )
        stopped = "" if found["finished"] else f" The run was stopped; {found['planned']} epochs were planned."
        networks = found["summary"]["networks"] if found["summary"] else []
        cells = [[each["key"], f"{each['top1_last']:.2f}", f"{each['top1_best']:.2f}"] for each in networks]
        lines += [
            f"The {arguments['pair']} pair by L-MCL, {arguments['precision']}, from JPEG files. {length}{stopped} The"
            f" schedule of the learning rate covers these epochs. One takes {found['seconds_of_an_epoch']:.1f} s,"
            " evaluation and meta rounds included.",
            "",
            *(table(["network", "top-1 last, %", "top-1 best, %"], cells, 1) if cells else []),
        ]
    return lines
