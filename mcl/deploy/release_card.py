"""The card of a release: what model hubs read, and what a reader must know to trust and use the networks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mcl.deploy import card_parts
from mcl.deploy.card_usage import check, usage
from mcl.deploy.release_folder import OURS, RUN
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.runs.received import file_name

_CHOSEN = {
    "validation": "It is the one with the best accuracy on the validation images, which were held out of the training"
    " images. The test images took no part in the choice.",
    "test": "It is the one with the best accuracy on these same test images, so its accuracy is higher than it would be"
    " on other images. The mean over the seeds is the fair number.",
    "first": "It is the first one: no image took part in the choice.",
}


@dataclass(frozen=True)
class SeedStatistics:
    """Accuracy over the seeds of a row, in percent; None where there are too few seeds."""

    count: int
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class ReleaseFacts:
    """Facts on the card of a release that the run itself does not hold.

    Args:
        name: The name of the release, such as ``few_images_tuned/lmcl-resnet8``.
        chosen: What chose the run among the seeds of its row: ``validation``, ``test`` or ``first``.
        seeds: The number of these seeds.
        accuracy: Accuracy over them, by the name of the network; ``ensemble`` is that of the ensemble.
        command: The command that trains the run; empty if it is unknown.
        license: SPDX identifier of the license.
        hub: Whether it is in the layout of Hugging Face's Hub: the first network is ``model.safetensors``, beside it is
            ``config.json``, and ``name`` is that of a repository or a folder.
    """

    name: str
    chosen: str
    seeds: int
    accuracy: Mapping[str, SeedStatistics]
    command: str = ""
    license: str = "MIT"
    hub: bool = False


def check_license(name: str) -> str:
    """Return an SPDX identifier; raises UserError for text that has not the form of one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,63}", name):
        raise UserError(f"--license {name}: give an SPDX identifier, such as MIT, Apache-2.0 or CC-BY-4.0.")
    return name


def release_card(run: SavedRun, facts: ReleaseFacts, files: Mapping[str, str], hashes: Mapping[str, str]) -> str:
    """Return a card as Markdown with a header.

    Args:
        run: The run.
        facts: What else the card states.
        files: The file of each network, by its key.
        hashes: The SHA-256 of each of these files and of ``run.json``.
    """
    place, _, title = facts.name.rpartition("/")
    study = "" if facts.hub else f" Study {card_parts.escape(place)}."
    parts = [
        f"# {card_parts.escape(title)}",
        f"Image classifiers of {len(run.classes)} classes, {card_parts.origin(run)}{study}"
        " Auxiliary branches and everything else that only training needs are left out.",
        "## Networks",
        card_parts.network_table(run, "last", files),
        f"[{RUN}]({RUN}) holds all settings and results of the run.",
        "## Accuracy",
        card_parts.accuracies(run, "last", files),
        *_over_seeds(run, facts),
        "## Data",
        *card_parts.data(run),
        "## Recipe",
        *card_parts.recipe(run),
        *_command(run, facts),
        "## How to use them",
        *usage(run, facts.name, files, hub=facts.hub),
        "## Check",
        check(run),
        "## License",
        f"{facts.license}. The images that the networks were trained on have terms of their own.",
    ]
    return f"---\n{_header(run, facts, hashes)}---\n\n" + "\n\n".join(parts) + "\n"


def _header(run: SavedRun, facts: ReleaseFacts, hashes: Mapping[str, str]) -> str:
    title = facts.name.rpartition("/")[2]
    main = run.deployed[0] if facts.hub else None
    metrics = [
        {"type": "accuracy", "name": f"top-1 of {network['key']}", "value": round(network["top1_last"], 2)}
        for network in sorted(run.summary["networks"], key=lambda network: network["key"] != main)
        if network["top1_last"] is not None
    ]
    dataset = file_name(run.stored["dataset"].get("name") or run.dataset.spec.name)  # the images may be elsewhere
    header: dict[str, Any] = {
        "license": facts.license.lower(),
        "library_name": "mcl",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "knowledge-distillation", "mutual-learning", "pytorch"],
        "datasets": [dataset],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": title,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": dataset, "type": dataset, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
        OURS: {
            "name": facts.name,
            "run": run.summary["config_hash"],
            "seed": run.summary["seed"],
            "chosen": facts.chosen,
            "seeds": facts.seeds,
            "step": run.step,
            "data": run.checkpoint.get("data"),
            "files": dict(hashes),
        },
    }
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)


def _over_seeds(run: SavedRun, facts: ReleaseFacts) -> list[str]:
    seed = f"These networks are of seed {card_parts.escape(run.summary['seed'])}"
    if facts.seeds == 1 and facts.hub:
        return [f"{seed}, of one run, so nothing is known of the spread over seeds."]
    if facts.seeds == 1:
        return [f"{seed}, the only one, so nothing is known of the spread over seeds."]
    choice = f"{seed}, one of {facts.seeds}. {_CHOSEN[facts.chosen]}"
    if not facts.accuracy:
        return [choice]
    rows = [
        (name, str(each.count), _percent(each.mean), _percent(each.deviation), _interval(each.interval))
        for name, each in facts.accuracy.items()
    ]
    return [
        choice,
        "Top-1 over all of these seeds; networks of one architecture are averaged in each run:",
        card_parts.table(("network", "seeds", "mean", "deviation", "95 % interval of the mean"), rows),
    ]


def _command(run: SavedRun, facts: ReleaseFacts) -> list[str]:
    digest = card_parts.settings_hash(run)
    return [f"```sh\n{facts.command}\n```", digest] if facts.command else [digest]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
