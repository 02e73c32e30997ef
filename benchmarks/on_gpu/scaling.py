"""One run on several GPUs: images per second of `train.py` under torchrun with 1, 2, 4 and 8 processes."""

import shutil
from collections.abc import Sequence
from statistics import median
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup

TITLE = "Several GPUs for one run"
SKIPPED = 2  # log points of the warm-up


def measure(setup: Setup, *, processes: int, pair: str, batch: int, side: int, seconds: float) -> dict[str, Any]:
    """Return images per second at each log point, with the same batch on each GPU."""
    import torch

    from on_gpu.commands import metrics, run

    if setup.device == "cuda" and torch.cuda.device_count() < processes:
        raise NotAvailable(f"{torch.cuda.device_count()} of {processes} GPUs")
    folder = setup.out / "scaling" / f"{pair.replace('/', '-')}-{processes}"
    shutil.rmtree(folder, ignore_errors=True)
    batch, side = setup.size(batch, 8), setup.size(side, 8)
    options = [
        *("dataset=synthetic", f"dataset.image_size={side}", "dataset.classes=100"),
        *(f"dataset.train_per_class={setup.size(500, 4)}", "dataset.test_per_class=1"),
        *(f"pair={setup.size(pair, 'resnet8')}", f"trainer.batch_size={batch * processes}", "tracking=none"),
        *(f"trainer.device={setup.device}", f"trainer.max_steps={setup.size(400, 8)}"),
        *(
            f"trainer.log_every={setup.size(20, 2)}",
            "trainer.epochs=1000",
            "trainer.evaluate_every=1000",
            f"hydra.run.dir={folder}",
        ),
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = run(setup, [*(torchrun if processes > 1 else []), "train.py", *options], seconds, OMP_NUM_THREADS="1")
    rates = [row["train/images_per_second"] for row in metrics(folder) if "train/images_per_second" in row][SKIPPED:]
    shutil.rmtree(folder, ignore_errors=True)
    if not rates:
        raise NotAvailable(f"{processes} processes: {done.last_line}")
    return {"images_per_second": rates}


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    return f"{median(found['images_per_second']):,.0f} images/s"


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    rates = {
        (row["arguments"]["pair"], row["arguments"]["processes"]): median(row["found"]["images_per_second"])
        for row in rows
    }
    cells = []
    for row in sorted(rows, key=lambda row: (row["arguments"]["pair"], row["arguments"]["processes"])):
        pair, processes = row["arguments"]["pair"], row["arguments"]["processes"]
        rate, alone = rates[pair, processes], rates.get((pair, 1))
        shares = [f"{rate / alone:.2f}", f"{100 * rate / alone / processes:.0f} %"] if alone else ["–", "–"]
        cells.append([f"{pair}, {row['arguments']['batch']} on each", str(processes), f"{rate:,.0f}", *shares])
    return [
        "`torchrun train.py` with the same batch on each GPU, so the whole batch grows. Images/s are the median of the"
        f" run's own log points, meta rounds included, without the first {SKIPPED}.",
        "",
        *table(["pair", "GPUs", "images/s", "×", "of ideal"], cells, 1),
    ]
