"""Run folders without training: the files that a run would have written, with given accuracies."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mcl.runs.identity import config_hash
from mcl.runs.pair import networks_of
from mcl.runs.summary import with_checksum

STEPS_PER_EPOCH, BATCH = 10, 50
STEP_COST = defaultdict(lambda: 1000, deep_supervision=1500, lmcl=2000)  # multiply-adds of an image
ROUND_COST, INTERVAL = 8000, 20


def config(loss: str, seed: int, networks: Sequence[str] = ("resnet8", "resnet8"), **settings: Any) -> dict[str, Any]:
    """Return the configuration of a run; ``settings`` change it, such as ``trainer__epochs=4``."""
    keys = ("first", "second", "third", "fourth")
    content: dict[str, Any] = {
        "dataset": {"_target_": "mcl.data.digits.Digits", "limit": 10},
        "pair": {key: {"_target_": "mcl.networks.resnet.ResNet", "name": name} for key, name in zip(keys, networks)},  # noqa: B905
        "loss": {"_target_": f"mcl.losses.{loss}.Loss"},
        "sampler": {"_target_": "mcl.data.samplers.Shuffle"},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "trainer": {
            "_target_": "mcl.training.options.TrainerOptions",
            "epochs": 4,
            "device": "auto",
            "precision": "float32",
        },
        "seed": seed,
        "runs": "runs",
    }
    if loss == "lmcl":
        content["loss"]["meta"] = {"interval": INTERVAL}
    for name, value in settings.items():
        group, _, key = name.partition("__")
        content[group][key] = value
    return content


def write_run(
    runs: Path,
    loss: str,
    seed: int,
    top1: Sequence[float | None],
    *,
    networks: Sequence[str] = ("resnet8", "resnet8"),
    curve: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    settings: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    matching: bool = False,
    finished: bool = True,
    folder: Path | None = None,
) -> Path:
    """Write the folder of a run.

    Args:
        runs: the folder of runs.
        loss, seed, networks, settings: values in the configuration.
        top1: of each network at the last epoch, in percent.
        curve: one epoch each: the share of ``top1`` that is reached by then.
        summary: additional or other values in summary.json.
        without: keys that summary.json lacks.
        matching: write matching weights.
        finished: write a summary.
        folder: another than the usual one.
    """
    run_config = config(loss, seed, networks, **{"trainer__epochs": len(curve), **(settings or {})})
    pair = networks[0] if len(set(networks)) == 1 else "-".join(networks)
    folder = folder or runs / "digits" / pair / loss / config_hash(run_config)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run_config))
    keys = list(networks_of(run_config["pair"]))
    lines = []
    for epoch, share in enumerate(curve, 1):
        step = epoch * STEPS_PER_EPOCH
        line: dict[str, Any] = {"step": step, "epoch": epoch, "time": float(epoch), "train/top1/first": 1.0}
        if matching:
            for i, a in enumerate(keys):
                for b in keys[i + 1 :]:
                    for k, one in enumerate(("stage1", "stage2", "backbone")):
                        for m, other in enumerate(("stage1", "stage2", "backbone")):
                            line[f"matching/{a}.{one}/{b}.{other}"] = 0.5 + 0.1 * epoch / len(curve) * (
                                0.5 - abs(k - m) / 2
                            )
        lines.append(line)
        tested = {
            f"test/{key}/backbone/top1": None if t is None else t * share for key, t in zip(keys, top1, strict=True)
        }
        lines.append({"step": step, "epoch": epoch, "time": float(epoch), **tested})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not finished:
        return folder
    steps = len(curve) * STEPS_PER_EPOCH
    rounds = -(-steps // INTERVAL) if loss == "lmcl" else 0
    of_round = ROUND_COST if loss == "lmcl" else 0
    fields: dict[str, Any] = {
        "seed": seed,
        "config_hash": config_hash(run_config),
        "code": {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": False},
        "processes": 1,
        "steps": steps,
        "epochs": len(curve),
        "networks": [
            {
                "key": key,
                "name": name,
                "top1_last": value,
                "top1_best": None if value is None else value + 1,
                "best_epoch": len(curve),
                "top1_max_over_heads": None if value is None else value + 2,
                "multiply_adds": 500,
            }
            for key, name, value in zip(keys, networks, top1, strict=True)
        ],
        "ensemble": {"top1_last": None if None in top1 else max(top1) + 3},  # type: ignore[type-var]
        "top1_max_over_run": None if None in top1 else max(top1) + 2,  # type: ignore[type-var]
        "best_epoch_chosen_on": "test",
        "images": steps * BATCH,
        "seconds": 20.0 + seed,
        "training_seconds": 10.0,
        "images_per_second": 100.0,
        "multiply_adds": {
            "step": STEP_COST[loss],
            "meta_round": of_round,
            "total": BATCH * (steps * STEP_COST[loss] + rounds * of_round),
        },
        **(summary or {}),
    }
    fields = {key: value for key, value in fields.items() if key not in without}
    (folder / "summary.json").write_text(json.dumps(with_checksum(fields)))
    return folder
