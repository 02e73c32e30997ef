"""``mcl.load``: load a trained network, ready for use."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mcl.deploy.formats import FORMATS, with_about
from mcl.deploy.metadata import About
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.networks.backbone import Backbone
from mcl.runs.stored_config import plain


def load(
    place: str | os.PathLike[str],
    network: int | str = 0,
    *,
    weights: Weights = "last",
    allow: Sequence[str] = (),
) -> nn.Module:
    """A trained network as it is deployed: no auxiliary branches, evaluation mode, on the CPU.

    >>> backbone = mcl.load("runs/digits/resnet8/lmcl/0123456789")  # doctest: +SKIP
    >>> images = backbone.preprocessing("three.png", "seven.png")  # (B, channels, size, size)
    >>> [backbone.classes[label] for label in backbone(images).argmax(1)]
    ['3', '7']

    Args:
        place: a run folder, a bundle, or an exported file.
        network: which one of a run: its number (from 0), key (``"second"``) or name (``"resnet20"``).
        weights: of a run: ``"last"``, as training left them, or ``"best"``, of the network's best epoch.
        allow: modules of your own that may be built, where the network is defined in one.

    Returns:
        The backbone, with ``preprocessing`` (see `mcl.data.preprocessing.Preprocessing`) and ``classes`` (names, by
        label) as attributes. An ONNX file gives a module that onnxruntime computes.

    Raises:
        UserError: there is nothing to load, or it is damaged, or names what may not be built.
    """
    path = Path(place)
    for form in FORMATS.values():
        if path.suffix == form.suffix and path.is_file():
            return form.read(path, allow)
    run = SavedRun(path, allow=allow)
    backbone, about = deployed(run, run.key(network), weights)
    return with_about(backbone, about)


def deployed(run: SavedRun, key: str, weights: Weights) -> tuple[Backbone, About]:
    """A network of a run, and what is known of it."""
    architecture = plain(run.config)["pair"][key]
    about = About(
        name=run.names[run.keys.index(key)],
        key=key,
        architecture=architecture,
        classes=run.classes,
        preprocessing=run.preprocessing,
        weights=weights,
        step=run.step,
    )
    return run.backbone(key, weights), about
