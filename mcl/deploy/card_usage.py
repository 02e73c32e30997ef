"""How the networks of a release are used and checked: code for its card, which a test runs."""

from collections.abc import Mapping

from mcl.config.build_network import network_of
from mcl.deploy.card_logits import IMAGES, drawing, encode_logits
from mcl.deploy.saved_run import SavedRun
from mcl.runs.stored_config import plain

_LOADED = """\
With mcl, from Python or from the command line:

```python
import mcl

# {choices}
network = mcl.{function}("{name}")
pixels = network.preprocessing("image.png")  # B x {channels} x {size} x {size}
print(network.classes[network(pixels).argmax(1)[0]])
```

```sh
{download}python -m mcl predict {place} image.png
python -m mcl evaluate {place}  # measures the accuracy again; dataset.root=FOLDER says where the images are
```

{note}"""
_PATH = "In place of the name, the path of this folder or of a file can be given."
_FOLDER = "`model.safetensors` and `config.json` suffice for that network; the whole folder is checked by its hashes."
_PLAIN = """\
With plain safetensors and `build_network`, for the images of the check below:

```python
import mcl, numpy, torch
from safetensors.torch import load_file

network = mcl.build_network("{architecture}", {classes}, in_channels={channels}).eval()
network.load_state_dict(load_file("{file}"))
{drawing}
mean, std = (torch.tensor(values)[:, None, None] for values in ({mean}, {std}))
with torch.no_grad():
    logits = network((torch.from_numpy(images) / 255 - mean) / std)
```"""
_CHECK = """\
These are the logits, in float32, of {count} images of random patches that numpy draws:

```python
import numpy

{drawing}
```

{logits}"""


def usage(run: SavedRun, name: str, files: Mapping[str, str], *, hub: bool = False) -> list[str]:
    """Return how the networks of a release are loaded: with mcl, by name, and with plain safetensors.

    Args:
        run: The run.
        name: The name of the release.
        files: The file of each network, by its key.
        hub: Whether the name is a repository of Hugging Face's Hub, or a folder in its layout.
    """
    spec = run.preprocessing
    first = next(iter(files))
    others = [f'network="{key}"' for key in files if key != first]
    main = "the first network" if first == run.keys[0] else f"the network {first}"
    choices = f"{main}; {' or '.join(others)} for another" if others else "the network"
    place = name.rpartition("/")[2] if hub else name
    values = {"name": name, "place": place, "function": "from_pretrained" if hub else "load", "choices": choices}
    values |= {"note": _FOLDER if hub else _PATH, "download": ""}
    if place != name and hub:
        values["download"] = f"hf download {name} --local-dir {place}\n"
    texts = [_LOADED.format(**values, channels=spec.channels, size=spec.image_size)]
    key, file = next(iter(files.items()))
    architecture = network_of(plain(run.config)["pair"][key])
    if architecture is not None:
        own = {"architecture": architecture, "classes": len(run.classes), "channels": spec.channels, "file": file}
        own |= {"drawing": drawing(spec), "mean": list(spec.mean), "std": list(spec.std)}
        texts.append(_PLAIN.format(**own))
    return texts


def check(run: SavedRun) -> str:
    """Return the logits of the networks, and how to draw the images that they are of."""
    return _CHECK.format(count=IMAGES, drawing=drawing(run.preprocessing), logits=encode_logits(run))
