"""The model card: what exported networks are, what they were trained on and how, how good they are, how to use them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcl.config.identity import identity
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.networks.counting import multiply_adds, parameters
from mcl.version import code_version

_ONNX = """\
With onnxruntime and numpy alone (`images` uint8, of shape B x {channels} x {size} x {size}):

```python
import json, numpy, onnxruntime

session = onnxruntime.InferenceSession("{file}")
about = session.get_modelmeta().custom_metadata_map
preprocessing, classes = json.loads(about["preprocessing"]), json.loads(about["classes"])
mean, std = (numpy.array(preprocessing[name], "float32")[:, None, None] for name in ("mean", "std"))
(logits,) = session.run(["logits"], {{"images": (images / numpy.float32(255) - mean) / std}})
print([classes[label] for label in logits.argmax(1)])
```
"""
_MCL = """\
With mcl, from Python or from the command line:

```python
import mcl

network = mcl.load("{file}")
images = network.preprocessing("image.png")  # B x {channels} x {size} x {size}
print(network.classes[network(images).argmax(1)[0]])
```

```sh
python -m mcl predict {file} image.png
```
"""


def model_card(run: SavedRun, weights: Weights, files: Mapping[str, str]) -> str:
    """Markdown.

    Args:
        run: where the networks come from.
        weights: ``last`` or ``best``.
        files: the name of each network's file, by its key.
    """
    spec, config = run.preprocessing, run.stored
    shape = (spec.channels, spec.image_size, spec.image_size)
    settings = identity(config)
    first = next(iter(files.values()))
    names = dict(zip(run.keys, run.names, strict=True))
    how = (_ONNX if first.endswith(".onnx") else "") + "\n" + _MCL
    parts = [
        f"# {', '.join(dict.fromkeys(names[key] for key in files))}",
        f"Image classifiers of {len(run.classes)} classes, trained together by mcl {_code(run)}. Auxiliary branches and"
        " everything else that only training needs are left out.",
        "## Networks",
        _table(
            ("file", "architecture", "parameters", "multiply-adds"),
            [_network_row(run, weights, key, file, shape) for key, file in files.items()],
        ),
        "## Accuracy",
        _accuracies(run, weights),
        "## Data",
        f"{_recipe('dataset', settings)}. Images of {spec.channels} channels,"
        f" {spec.image_size} x {spec.image_size}; pixels x in [0, 1] become (x - mean) / std with mean"
        f" {_numbers(spec.mean)} and std {_numbers(spec.std)}.",
        f"Classes, by label: {', '.join(run.classes)}.",
        "## Recipe",
        _table(("part", "choice"), [(part, _recipe(part, settings)) for part in _PARTS]),
        f"Seed {config.get('seed', 0)}; {run.step:,} steps taken.",
        "## How to use them",
        how.format(file=first, channels=spec.channels, size=spec.image_size).strip(),
    ]
    return "\n\n".join(parts) + "\n"


_PARTS = ("loss", "sampler", "optimizer", "schedule", "trainer")


def _network_row(run: SavedRun, weights: Weights, key: str, file: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    backbone = run.backbone(key, weights)
    return file, backbone.name, f"{parameters(backbone):,}", f"{multiply_adds(backbone, shape):,}"


def _accuracies(run: SavedRun, weights: Weights) -> str:
    results: Mapping[str, Any] = run.checkpoint.get("results") or {}
    if not results.get("last"):
        return f"Not measured here. `python -m mcl evaluate {run.place.path}` does."
    rows = []
    for key, name in zip(run.keys, run.names, strict=True):
        last, best = results["last"], results["best"].get(key, {})
        if weights == "best":
            rows.append((key, name, f"{best['top1']:.2f}", "", f"{best['epoch']:g}"))
        else:
            rows.append(
                (key, name, f"{last[f'{key}/backbone/top1']:.2f}", f"{last[f'{key}/backbone/top5']:.2f}", "last")
            )
    return "On the test images, in percent:\n\n" + _table(("network", "architecture", "top-1", "top-5", "epoch"), rows)


def _code(run: SavedRun) -> str:
    code = run.checkpoint.get("code") or code_version()
    commit = f", commit {str(code['commit'])[:10]}" if code.get("commit") else ""
    return f"{code.get('version')}{commit}"


def _recipe(part: str, settings: Mapping[str, Any]) -> str:
    """``SGD: lr 0.1, momentum 0.9`` from the settings that make the result."""
    own = {key.removeprefix(f"{part}."): value for key, value in settings.items() if key.startswith(f"{part}.")}
    name = str(own.get("_target_", "")).rpartition(".")[2]
    options = [f"{key} {value}" for key, value in own.items() if key.rpartition(".")[2][0] != "_" and value is not None]
    return f"{name}: {', '.join(options)}".removesuffix(": ")


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
