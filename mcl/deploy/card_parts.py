"""Parts of a model card, as Markdown: networks, accuracy, data, recipe."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mcl.deploy.card_images import describe_reading
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.networks.counting import multiply_adds, parameters
from mcl.runs.identity import identity
from mcl.untrusted.text import printable

_CHOSEN = {
    "validation": "Each network is taken at its best epoch, which was chosen on the validation images.",
    "test": "Each network is taken at its best epoch, which was chosen on these same test images: the accuracies are"
    " higher than they would be on other images.",
}
_PARTS = ("loss", "sampler", "optimizer", "schedule", "trainer")


def network_table(run: SavedRun, weights: Weights, files: Mapping[str, str]) -> str:
    """Return a table of networks, one file each."""
    rows = []
    for key, file in files.items():
        backbone = run.backbone(key, weights)
        cost = multiply_adds(backbone, run.preprocessing.image_shape)
        rows.append((file, backbone.name, f"{parameters(backbone):,}", f"{cost:,}"))
    return table(("file", "architecture", "parameters", "multiply-adds"), rows)


def origin(run: SavedRun) -> str:
    """Describe the code that trained the networks, as the run recorded it, and whether training ended."""
    if run.imported is not None:
        file, digest = (escape(run.imported.get(name)) for name in ("file", "sha256"))
        return f"imported from {file}, a checkpoint of the official L-MCL code (SHA-256 {digest}), not trained by mcl."
    code: Mapping[str, Any] = run.checkpoint.get("code") or {}
    by = f" by mcl {escape(code['version'])}" if code.get("version") else ""
    by += f", commit {escape(str(code['commit'])[:10])}" if code.get("commit") else ""
    by += " with uncommitted changes" if code.get("dirty") else ""
    unfinished = "" if run.finished else f" Training had not ended: the checkpoint is that of step {run.step:,}."
    return f"trained in one run{by}.{unfinished}"


def accuracies(run: SavedRun, weights: Weights, keys: Iterable[str]) -> str:
    """Return the accuracies that a run measured of some networks with these weights, or why there are none."""
    results: Mapping[str, Any] = run.checkpoint.get("results") or {}
    evaluated_step = run.checkpoint.get("evaluated_step", run.step)
    remedy = "`python -m mcl evaluate RUN` measures them."
    if run.imported is not None:
        values = [f"{name} {value}" for name, value in run.imported.items() if name not in ("file", "sha256")]
        stated = f" The checkpoint itself states {escape(', '.join(values))}." if values else ""
        return f"Not measured here: {remedy}{stated}"
    if not results.get("last"):
        return f"Not measured: {remedy}"
    if weights == "last" and evaluated_step != run.step:
        return (
            f"Not measured: these weights are of step {run.step:,}, and the last evaluation was after step"
            f" {evaluated_step:,}. {remedy}"
        )
    rows = []
    for key in keys:
        name, last, best = run.name(key), results["last"], results["best"].get(key, {})
        if weights == "best":
            rows.append((key, name, f"{best['top1']:.2f}", "", f"epoch {best['epoch']:g}"))
        else:
            top1, top5 = (f"{last[f'{key}/backbone/{measure}']:.2f}" for measure in ("top1", "top5"))
            rows.append((key, name, top1, top5, f"step {run.step:,}"))
    chosen = "" if weights == "last" else f" {_CHOSEN[run.chosen_on]}"
    measured = table(("network", "architecture", "top-1", "top-5", "weights of"), rows)
    return f"On the test images, in percent.{chosen}\n\n{measured}"


def data(run: SavedRun) -> list[str]:
    """Return what the networks were trained on, and what they expect."""
    spec = run.preprocessing
    return [
        f"{_dataset(run)} Images of {spec.channels} channels,"
        f" {spec.image_size} x {spec.image_size}; pixels x in [0, 1] become (x - mean) / std with mean"
        f" {_numbers(spec.mean)} and std {_numbers(spec.std)}.",
        describe_reading(spec),
        f"Classes, by label: {escape(', '.join(run.classes))}.",
    ]


def _dataset(run: SavedRun) -> str:
    description = _choice("dataset", identity(run.stored))
    if run.imported is None:
        return f"{escape(description)}."
    name = escape(description.partition(":")[0])
    return f"The checkpoint does not say what it was trained on; it was imported for {name}, with its preprocessing."


def recipe(run: SavedRun) -> list[str]:
    """Return the settings of training, and how far it went."""
    if run.imported is not None:
        return ["The checkpoint does not record how it was trained."]
    settings = identity(run.stored)
    seed = f"Seed {settings['seed']}; " if "seed" in settings else ""
    start = settings.get("init_from")
    base = f" Training started from the weights of {escape(PurePath(str(start)).name)}." if start else ""
    choices = table(("part", "choice"), [(part, _choice(part, settings)) for part in _PARTS])
    return [choices, f"{seed}{run.step:,} steps taken.{base}"]


def settings_hash(run: SavedRun) -> str:
    """Return the sentence that identifies a run that was trained by mcl."""
    return f"The hash of its settings, which names its folder, is {escape(run.hash)}."


def _choice(part: str, settings: Mapping[str, Any]) -> str:
    """Describe one part of the identity, such as ``SGD: lr 0.1, momentum 0.9``."""
    own = {key.removeprefix(f"{part}."): value for key, value in settings.items() if key.startswith(f"{part}.")}
    name = str(own.get("_target_", "")).rpartition(".")[2]
    options = [f"{key} {value}" for key, value in own.items() if key.rpartition(".")[2][0] != "_" and value is not None]
    return f"{name}: {', '.join(options)}".removesuffix(": ")


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; its cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(escape(cell.replace('|', '/')) for cell in line)} |" for line in lines)


def escape(text: object) -> str:
    """Return text from a file on one line: no HTML, link, picture or code of Markdown survives."""
    return re.sub(r"[\\`*\[\]]", r"\\\g<0>", printable(text)).replace("<", "&lt;")
