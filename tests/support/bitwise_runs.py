"""Digests of twelve short runs: two versions of the code train alike when their digests are equal.

    python tests/support/bitwise_runs.py before.json --checkout OTHER   # another checkout's train.py, with its packages
    python tests/support/bitwise_runs.py after.json --compare before.json

Each run covers one part: every loss, both samplers, memory banks, one network, three networks, two processes,
bfloat16, torch.compile, images read from disk, a resumed run after a kill. A digest covers the final weights, the state
of the optimizers and every line of metrics.jsonl except for times.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

SHORT = [
    *("sampler=shuffle", "trainer.batch_size=8", "trainer.epochs=2", "trainer.log_every=3"),
    *("trainer.device=cpu", "trainer.threads=1", "tracking=none"),
]
SMALL = [
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=8", "dataset.test_per_class=3"),
    *("dataset.classes=4", "dataset.channels=1", *SHORT),
]
META = ["loss.meta.interval=4", "loss.meta.steps=1", "loss.dim=16"]
RUNS: dict[str, list[str]] = {
    "independent": [*SMALL, "loss=independent"],
    "deep_supervision": [*SMALL, "loss=deep_supervision", "sampler=class_balanced", "sampler.per_class=2"],
    "mcl": [*SMALL, "loss=mcl", "loss.dim=16"],
    "lmcl": [*SMALL, *META],
    "memory banks": [*SMALL, *META, "loss/contrast=memory", "loss.contrast.neg_k=8"],
    "one network": [*SMALL, "pair=single", "network@pair.first=resnet8", "loss=independent"],
    "three networks": [*SMALL, *META, "+network@pair.third=resnet8"],
    "two processes": [*SMALL, *META],
    "bfloat16": [*SMALL, *META, "trainer.precision=bfloat16"],
    "compile": [*SMALL, "loss=independent", "trainer.compile=true", "trainer.max_steps=2"],
    "folder": [*SHORT, *META, "dataset=folder", "dataset.root=images", "dataset.image_size=8"],
    "resumed after a kill": [*SMALL, *META, "trainer.epochs=8", "trainer.checkpoint_every=2"],
}
TIMES = ("time", "train/images_per_second")


def main() -> None:
    """Train all runs and write their digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--compare", type=Path, help="digests written by another version")
    arguments = parser.parse_args()
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root:
        write_images(Path(root) / "images")
        for name, overrides in RUNS.items():
            folder = Path(root) / name.replace(" ", "_")
            train(arguments.checkout.resolve(), name, overrides, folder)
            digests[name] = digest(folder)
            print(f"{name:22} {digests[name]}", flush=True)
    arguments.out.write_text(json.dumps(digests, indent=1) + "\n")
    if arguments.compare:
        before = json.loads(arguments.compare.read_text())
        changed = [name for name in RUNS if digests[name] != before[name]]
        print(f"{len(RUNS) - len(changed)} of {len(RUNS)} runs are the same bit for bit", *changed, sep="\n  ")
        sys.exit(bool(changed))


def train(checkout: Path, name: str, overrides: list[str], folder: Path) -> None:
    """Train one run in ``folder`` with the train.py of a checkout."""
    processes = 2 if name == "two processes" else 1
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, str(checkout / "train.py"), *overrides, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "MCL_CACHE": f"{folder}-cache"}
    options: dict[str, Any] = {"cwd": folder.parent, "env": environment, "stdout": subprocess.DEVNULL}
    if "kill" in name:
        process = subprocess.Popen(command, **options)
        while process.poll() is None and not list((folder / "checkpoints").glob("step-*.pt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, **options)


def digest(folder: Path) -> str:
    """Return a hash of everything that training computed in a run folder."""
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    total = hashlib.sha256()
    for part in ("learner", "optimizers", "best"):
        _update(total, state[part])
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        total.update(json.dumps({k: v for k, v in json.loads(line).items() if k not in TIMES}).encode())
    return total.hexdigest()[:16]


def _update(total: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        total.update(
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.ndim else repr(value).encode()
        )
    elif isinstance(value, dict):
        for key, child in sorted(value.items(), key=lambda item: str(item[0])):
            total.update(str(key).encode())
            _update(total, child)
    elif isinstance(value, list | tuple):
        for child in value:
            _update(total, child)
    else:
        total.update(repr(value).encode())


def write_images(root: Path) -> None:
    """Write class folders of small PNG files, the same at each call."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 8), ("val", 3)):
        for name in "abcd":
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(256, (8, 8), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(root / part / name / f"{number}.png")


if __name__ == "__main__":
    main()
