"""``mcl.load``: load a trained network, ready for use."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mcl.deploy.formats import FORMATS
from mcl.deploy.pretrained import is_pretrained, read_pretrained
from mcl.deploy.release_folder import is_release
from mcl.deploy.saved_run import SavedRun, Weights, check_weights
from mcl.errors import UserError
from mcl.untrusted.damage import refuse_damaged


def load(
    place: str | os.PathLike[str],
    network: int | str | None = None,
    *,
    weights: Weights = "last",
    allow: Sequence[str] = (),
    allow_older: bool = False,
) -> nn.Module:
    """Load a trained network as it is deployed: without auxiliary branches, in evaluation mode, on the CPU.

    Examples:
        >>> backbone = mcl.load("few_images_tuned/lmcl-resnet8")  # a release, by its name  # doctest: +SKIP
        >>> backbone = mcl.load("runs/digits/resnet8/lmcl/0123456789")  # doctest: +SKIP
        >>> images = backbone.preprocessing("three.png", "seven.png")  # (B, channels, size, size)
        >>> [backbone.classes[label] for label in backbone(images).argmax(1)]
        ['3', '7']

    Args:
        place: A run folder, a bundle, an exported file, a folder in the layout of Hugging Face's Hub, or a release by
            its folder or its name: ``STUDY/ROW``, which is found in ``experiments/STUDY/weights`` of this project and
            of the working folder.
        network: The network of a run or a release, by number (from 0), key (``"second"``) or name (``"resnet20"``); by
            default the first one, or the leader of a cohort. A file holds one network.
        weights: The weights of a run: ``"last"``, after training, or ``"best"``, at the network's best epoch. A file
            holds the weights that it was exported with.
        allow: Your own modules whose classes may be built.
        allow_older: Take an older checkpoint if the newest one of a run is damaged or missing.

    Returns:
        The backbone, with the attributes ``preprocessing`` (see `mcl.data.preprocessing.Preprocessing`) and
        ``classes`` (names, by label). An ONNX file gives a module that onnxruntime computes.

    Raises:
        UserError: There is nothing to load (the message lists the releases), or it is damaged, or names a class that
            may not be built; or there is no such network, or no choice of weights.
    """
    check_weights(weights)
    path = Path(place)
    with refuse_damaged(path):
        for format in FORMATS.values():
            if path.suffix == format.suffix and path.is_file():
                if format.runs_code:
                    raise UserError(
                        f"{path} can run code when it is read, so mcl does not read it. Load a file of your own with"
                        " torch.export.load(FILE).module(), or export another format."
                    )
                _refuse_best(path, weights)
                if network not in (None, 0, "0"):
                    raise UserError(f"network {network}: {path} holds one network: choose none.")
                return format.read(path, allow)
        if is_pretrained(path) and not is_release(path):
            _refuse_best(path, weights)
            return read_pretrained(path, network, allow)
        run = SavedRun(path, allow=allow, allow_older=allow_older)
        backbone, metadata = run.deployable(run.deployed[0] if network is None else run.key(network), weights)
        metadata.attach_to(backbone)
        return backbone


def _refuse_best(path: Path, weights: Weights) -> None:
    """Raise UserError if best weights are asked for where there is no choice."""
    if weights == "best":
        raise UserError(f"{path} holds one network as it was exported: only a run has a choice of best weights.")
