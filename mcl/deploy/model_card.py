"""The model card: networks, training data and recipe, accuracy, usage."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcl.deploy.card_images import reading_code
from mcl.deploy.card_int8 import int8_section
from mcl.deploy.card_parts import accuracies, data, escape, network_table, origin, recipe, settings_hash
from mcl.deploy.quantization import Quantized
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.errors import UserError
from mcl.untrusted.damage import refuse_damaged
from mcl.untrusted.limits import MAX_JSON
from mcl.untrusted.regular_files import read_bytes

_ONNX = """\
With onnxruntime, numpy and Pillow alone:

```python
import json, numpy, onnxruntime
from PIL import Image, ImageOps

{reading}
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


_PROGRAM = """\
With PyTorch, numpy and Pillow alone. Reading a program of torch.export can run code in it, so load it only if you trust
where it comes from:

```python
import json, numpy, torch
from PIL import Image, ImageOps

{reading}
extra = {{"metadata.json": ""}}
network = torch.export.load("{file}", extra_files=extra).module()
about = json.loads(extra["metadata.json"])
mean, std = (torch.tensor(about["preprocessing"][name])[:, None, None] for name in ("mean", "std"))
with torch.no_grad():
    logits = network((torch.from_numpy(images) / 255 - mean) / std)
print([about["classes"][label] for label in logits.argmax(1)])
```
"""
_BEGINNING = "Image classifiers of "
_RUN = re.compile(r"(?:which names its folder, is|SHA-256) (\w+)")  # the hash of its settings, or of an imported file
_USAGE = {".onnx": f"{_ONNX}\n{_MCL}", ".pt2": _PROGRAM}


def model_card(
    run: SavedRun,
    weights: Weights,
    files: Mapping[str, str],
    int8: Sequence[Quantized] = (),
    usage: str | None = None,
) -> str:
    """Return the card of a run's networks as Markdown.

    Args:
        run: The run.
        weights: ``last`` or ``best``.
        files: The name of each network's file, by its key.
        int8: The int8 files beside them.
        usage: How the first file is loaded; None for a file of this project.

    Raises:
        UserError: What the run holds is damaged.
    """
    with refuse_damaged(run.source.path):
        return _card(run, weights, files, int8, usage)


def check_replaced(card: Path, run: SavedRun) -> None:
    """Raise UserError unless a README.md is the card of an export of this run. Older cards name no run."""
    text = read_bytes(card, MAX_JSON).decode(errors="replace")
    parts = text.split("\n\n", 2)
    if len(parts) < 2 or not parts[0].startswith("# ") or not parts[1].startswith(_BEGINNING):
        raise UserError(f"{card} is not the card of an export, which would replace it. Give another folder with --out.")
    other = _RUN.search(text)
    if other is not None and other[1] != run.hash:
        raise UserError(f"{card.parent} holds the export of another run, {other[1]}. Give another folder with --out.")


def _card(
    run: SavedRun, weights: Weights, files: Mapping[str, str], int8: Sequence[Quantized], usage: str | None
) -> str:
    spec = run.preprocessing
    first = next(iter(files.values()))
    if usage is None:
        usage = next((text for suffix, text in _USAGE.items() if first.endswith(suffix)), _MCL)
        usage = usage.format(file=first, channels=spec.channels, size=spec.image_size, reading=reading_code(spec))
    parts = [
        f"# {escape(', '.join(dict.fromkeys(run.name(key) for key in files)))}",
        f"{_BEGINNING}{len(run.classes)} classes, {origin(run)} Auxiliary branches and everything else that"
        " only training needs are left out.",
        "## Networks",
        network_table(run, weights, files),
        "## Accuracy",
        accuracies(run, weights, files),
        *int8_section(int8),
        "## Data",
        *data(run),
        "## Recipe",
        *recipe(run),
        *([settings_hash(run)] if run.imported is None else []),
        "## How to use them",
        "Normalization is not part of the files: they take normalized images, as below.",
        usage.strip(),
    ]
    return "\n\n".join(parts) + "\n"
