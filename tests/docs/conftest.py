"""A folder in which the commands of the pages can be typed: finished runs, images, the files that the pages show."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.doc_pages import ROOT, blocks
from support.drawings import _undrawn  # noqa: F401 - a fixture
from support.golden_rule import filled

import train
from mcl.deploy.release import write_release
from mcl.deploy.release_card import ReleaseFacts
from mcl.deploy.saved_run import SavedRun

GOLDEN = ROOT / "tests" / "golden" / "networks" / "keys.json.gz"
DEFAULT_RUN = "runs/digits/resnet8/lmcl/73f50a34ac"  # as the pages call it
RELEASE = "quickstart/lmcl-resnet8"
PLANNED_RUN = "runs/digits/resnet8/independent/2e6b044923"  # of the study quickstart
QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "trainer.device=cpu", "++dataset.limit=8"]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder."""
    home = tmp_path_factory.mktemp("home")
    _write_images(home)
    _write_files_of_the_pages(home)
    for study in ("quickstart", "tiny_imagenet_100", "timm_partners", "matching"):
        shutil.copytree(ROOT / "experiments" / study, home / "experiments" / study)
    shutil.move(home / "experiments" / "quickstart" / "results.csv", home)
    (home / "experiments" / "quickstart" / "RESULTS.md").unlink()  # of runs that are not here
    shutil.copytree(home / "experiments" / "quickstart", home / "my" / "study")
    for run in (DEFAULT_RUN, PLANNED_RUN):
        offline = home / run / "wandb" / "offline-run-20260101_000000-x"
        offline.mkdir(parents=True)
        (offline / "run-x.wandb").touch()
    (home / PLANNED_RUN / "config.yaml").write_text("seed: 0\n")
    shapes = json.loads(gzip.decompress(GOLDEN.read_bytes()))["lmcl_resnet32_cifar"]
    state = {key: filled("official-", key, shape) for key, shape in shapes.items()}
    torch.save({"net": state, "acc": 0.7091, "epoch": 299}, home / "F.pth.tar")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MCL_CACHE", str(home / "cache"))
        for folder, options in {
            DEFAULT_RUN: ["tracking=none"],
            "RUN": ["dataset=folder", "dataset.root=my/images", "dataset.image_size=8", "tracking=none"],
        }.items():
            small = ["trainer.batch_size=4"] if folder == "RUN" else []
            patch.setattr(sys, "argv", ["train.py", *options, *QUICK, *small, f"hydra.run.dir={folder}"])
            train.train()
        facts = ReleaseFacts(RELEASE, "first", 1, {})
        write_release(SavedRun(DEFAULT_RUN), home / "experiments/quickstart/weights/lmcl-resnet8", facts)
        write_release(SavedRun("RUN"), home / "resnet8", ReleaseFacts("resnet8", "first", 1, {}, hub=True))
    return home


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in that folder, as `python` does: what it imports from there is forgotten afterwards."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("MCL_CACHE", str(home / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (home / "mlflow").as_uri())  # files: a database takes seconds
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield home
    for name, module in sys.modules.copy().items():
        if str(getattr(module, "__file__", None) or "").startswith(str(home)):
            del sys.modules[name]


@pytest.fixture
def typed(at_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``typed(function, *arguments)`` calls an entry point, requires status 0, and returns what it printed."""

    def call(function: Callable[..., object], *arguments: object, argv: list[str] | None = None) -> str:
        monkeypatch.setattr(sys, "argv", argv or sys.argv)
        capfd.readouterr()
        try:
            status = function(*arguments)
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        assert status in (None, 0), out + err
        return out + err

    return call


def _write_images(home: Path) -> None:
    rng = np.random.default_rng(0)
    trees = {"my/images": ("cat", "dog"), "elsewhere": ("cat", "dog"), "other/images": ("dog", "cat")}
    for root, classes in trees.items():
        for name in classes:
            (home / root / name).mkdir(parents=True)
            for number in range(6):
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(home / root / name / f"{number}.png")
    for name in ("three.png", "one.jpg", "two.jpg", "image.jpg"):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(home / name)
    labels = np.arange(100, dtype=np.uint8) % 5
    parts = {"train": 100, "test": 20}
    pixels = {f"x_{part}": rng.integers(0, 256, (n, 12, 12), dtype=np.uint8) for part, n in parts.items()}
    np.savez(home / "mnist.npz", **pixels, **{f"y_{part}": labels[:n] for part, n in parts.items()})


def _write_files_of_the_pages(home: Path) -> None:
    for text in blocks(ROOT / "docs" / "extend.md", "python", "yaml"):
        file = home / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tracker,) = (text for text in blocks(ROOT / "docs" / "tracking.md", "yaml") if "MyTracker" in text)
    (home / "my_conf" / "tracking").mkdir()
    (home / "my_conf" / "tracking" / "mine.yaml").write_text(tracker)
    (home / "my_package.py").write_text(
        "from mcl.tracking import Tracker\n\n\nclass MyTracker(Tracker):\n"
        "    def __init__(self, option: int = 0):\n        self.option = option\n\n"
        "    def start(self, run):\n        pass\n\n"
        "    def log(self, values, *, step, **more):\n        pass\n\n"
        "    def finish(self, status, **more):\n        pass\n"
    )
