"""The loaders alone: images on the device, and JPEG files decoded by worker processes or on the GPU."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup, one_line
from on_gpu.tables import unavailable

TITLE = "Loading images"
ROUNDS, WARM_UP = 3, 3
DEVICE, WORKERS, GPU = "on the device, 32 px", "JPEG, worker processes, 224 px", "JPEG, decoded on the GPU, 224 px"


def measure(setup: Setup, *, budget: float) -> dict[str, Any]:
    """Return images per second of each way, in turns; a loader is closed before the next one starts."""
    from on_gpu.forms import waiting

    batches = setup.size({DEVICE: 128, WORKERS: 64, GPU: 64}, {DEVICE: 8, WORKERS: 4, GPU: 4})
    rates: dict[str, list[float]] = {name: [] for name in batches}
    reasons: dict[str, str] = {}
    synchronize = waiting(setup)
    with TemporaryDirectory(prefix="mcl-images-") as folder:
        for _ in range(setup.size(ROUNDS, 1)):
            for name, batch in batches.items():
                if name in reasons:
                    continue
                try:
                    loaded = _batches(setup, name, Path(folder), batch)
                    rates[name].append(_rate(loaded, synchronize, batch, setup.size(budget / ROUNDS / 4, 0.2)))
                except Exception as error:
                    reasons[name] = one_line(error)
    if not any(rates.values()):
        raise NotAvailable("; ".join(reasons.values()))
    return {"images_per_second": {name: values for name, values in rates.items() if values}, "not_available": reasons}


def _rate(loaded: Iterator[Any], synchronize: Any, batch: int, seconds: float) -> float:
    for _ in range(WARM_UP):
        next(loaded)
    synchronize()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(loaded)
        count += 1
    synchronize()
    return batch * count / (time.perf_counter() - start)


def _batches(setup: Setup, name: str, folder: Path, batch: int) -> Iterator[Any]:
    from mcl.config.compose import compose_train
    from mcl.config.instantiate import build
    from mcl.data.loaders import TrainingLoader

    if name == DEVICE:
        options = ["dataset=synthetic", "dataset.classes=100", "dataset.train_per_class=20", "dataset.test_per_class=1"]
        options += ["dataset.augmentation.padding=4", "dataset.augmentation.flip=true"]
        node: Any = compose_train([*options, f"dataset.image_size={setup.size(32, 8)}"]).dataset
        allow: list[str] = []
    else:
        node, allow = _files(setup, folder, on_gpu=name == GPU)
    dataset = build(node, path="dataset", allow=allow)
    sampler = build(compose_train(["sampler=shuffle"]).sampler, path="sampler")
    loader = TrainingLoader(dataset.load().train, dataset, sampler, batch_size=batch, seed=0, device=setup.device)
    return (each for epoch in range(10**6) for each in loader.epoch(epoch))


def _files(setup: Setup, folder: Path, *, on_gpu: bool) -> tuple[Any, list[str]]:
    """Return ImageNet's node, its files replaced by generated ones of the same number and size."""
    from omegaconf import OmegaConf

    from mcl.benchmarking.images import STAND_INS, stand_in
    from mcl.config.compose import compose_train

    options = ["dataset=imagenet", "dataset.root=null", f"dataset.workers={setup.size('null', 0)}"]
    composed = compose_train([*options, *(["dataset.decode=gpu"] if on_gpu else [])])
    plain: Any = OmegaConf.to_container(composed.dataset, resolve=True)
    return stand_in(plain, [], folder), [STAND_INS]


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    return ", ".join(f"{name}: {median(rates):,.0f} images/s" for name, rates in found["images_per_second"].items())


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    found = rows[-1]["found"]
    cells = [
        [name, f"{median(rates):,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}"]
        for name, rates in found["images_per_second"].items()
    ]
    return [
        "Batches as training takes them, augmented and normalized on the device, and nothing else; each way in turns."
        " The JPEG files are generated, 500 x 375, and come from the page cache. A training needs its images/s from"
        " the loader: compare with the steps above.",
        "",
        *table(["images", "images/s", "range"], cells, 1),
        *unavailable(rows),
    ]
