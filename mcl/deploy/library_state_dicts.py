"""State dicts under the names of timm or torchvision, checked in the library's own model."""

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from mcl.deploy.card_images import reading_code
from mcl.deploy.formats import logits
from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.extras import require
from mcl.networks.backbone import Backbone
from mcl.networks.torchvision import COLORS
from mcl.untrusted.tensors import load_safetensors, load_state_file

NATIVE = "native"
CHECKED_IMAGES = 4
_USAGE = """\
With {library}, numpy and Pillow alone:

```python
{imports}
from PIL import Image, ImageOps

{reading}
network = {create}
network.load_state_dict({load})
network.eval()
mean, std = (torch.tensor(values)[:, None, None] for values in ({mean}, {std}))
with torch.no_grad():
    logits = network((torch.from_numpy(images) / 255 - mean) / std)
classes = {classes}
print([classes[label] for label in logits.argmax(1)])
```"""


def library_state(backbone: Backbone, library: str) -> dict[str, Tensor]:
    """Return the state dict of a network under a library's names, on the CPU.

    Raises:
        UserError: the network is not one of this library.
    """
    names = backbone.library_names()
    if not names:
        raise UserError(
            f"--names {library}: {backbone.name} is not a network of {library}. Use --names native, which also writes a"
            " recipe of its layers."
        )
    state = backbone.state_dict()
    return {theirs: state[own].detach().cpu().contiguous() for own, theirs in names.items()}


def encode(state: dict[str, Tensor], format: str, library: str) -> bytes:
    """Return the bytes of a file with nothing but a state dict.

    Raises:
        UserError: the format holds no state dict.
    """
    if format == "safetensors":
        from safetensors.torch import save

        return bytes(save(state, metadata={"format": "pt", "library": library}))
    if format != "torch":
        raise UserError(f"--names {library}: a file of --format {format} has no names of tensors. Use torch.")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def check(path: Path, backbone: Backbone, library: str, shape: tuple[int, int, int]) -> str:
    """Load a file strictly into the library's own model and compare logits. Return a line on what was checked.

    Args:
        path: the file that was written.
        backbone: the network, in evaluation mode.
        library: timm or torchvision.
        shape: (channels, height, width) of the images.

    Raises:
        UserError: the library's model does not take the weights, or computes other logits.
    """
    state = load_safetensors(path)[1] if path.suffix == ".safetensors" else load_state_file(path)
    model = _model(backbone, library)
    title = f"{library}'s {getattr(backbone, 'model', backbone.name)}"
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        gray = " It takes color images; this network takes gray ones." if backbone.in_channels == 1 else ""
        raise UserError(f"--names {library}: {title} does not take these weights: {reason}.{gray}") from error
    images = torch.randn(CHECKED_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    expected, actual = logits(backbone, images), logits(model.eval(), images)
    if not torch.equal(expected, actual):
        difference = float((expected - actual).abs().max())
        raise UserError(f"--names {library}: {title} computes other logits; they differ by {difference:.2g}.")
    return f"loads strictly into {title}, equal logits"


def usage(backbone: Backbone, metadata: NetworkMetadata, library: str, file: str) -> str:
    """Return how a file is loaded and used with a library alone, as Markdown."""
    name, classes = getattr(backbone, "model", ""), backbone.num_classes
    options = dict(getattr(backbone, "options", {}))
    if library == "timm" and backbone.in_channels != COLORS:
        options["in_chans"] = backbone.in_channels
    more = "".join(f", {option}={value!r}" for option, value in options.items())
    function = "timm.create_model" if library == "timm" else "torchvision.models.get_model"
    create = f'{function}("{name}", num_classes={classes}{more})'
    module, load = ("torch", f'torch.load("{file}", weights_only=True)')
    if file.endswith(".safetensors"):
        module, load = "safetensors.torch", f'safetensors.torch.load_file("{file}")'
    spec = metadata.preprocessing
    return _USAGE.format(
        library=library,
        imports="\n".join(f"import {each}" for each in sorted({module, library, "numpy", "torch"})),
        reading=reading_code(spec),
        create=create,
        load=load,
        mean=list(spec.mean),
        std=list(spec.std),
        classes=list(metadata.classes),
    )


def _model(backbone: Backbone, library: str) -> nn.Module:
    """Return a new model of a library of the kind of a network, which may come from the other library."""
    if library == backbone.library and (model := backbone.library_model()) is not None:
        return model
    name = getattr(backbone, "model", "")
    try:
        if library == "timm":
            require("timm", asked=f"--names {library}")
            import timm

            created: nn.Module = timm.create_model(
                name, num_classes=backbone.num_classes, in_chans=backbone.in_channels
            )
            return created
        from torchvision.models import get_model

        return get_model(name, weights=None, num_classes=backbone.num_classes)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--names {library}: {library} has no model {name}. Use --names {backbone.library}.") from error
