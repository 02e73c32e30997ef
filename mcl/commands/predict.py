"""``python -m mcl predict``: classify images."""

import argparse
import sys
from pathlib import Path

from mcl.commands.arguments import add_run, add_weights, require_at_least
from mcl.errors import UserError

HELP = "Classify images with a network of a run, a bundle or an exported file."
EPILOG = """\
examples:

  python -m mcl predict RUN cat.jpg dog.png
  python -m mcl predict RUN/export/first-resnet32.onnx *.jpg --top 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``predict``."""
    add_run(parser, metavar="RUN_OR_FILE", help="run folder, bundle, release or exported file")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--network", help="of a run: number (from 0), key or name; default: the first, or the leader")
    add_weights(parser)
    parser.add_argument("--top", type=int, default=1, help="number of classes to print; default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each image; return 1 if one could not be read."""
    from mcl.deploy.formats import logits
    from mcl.deploy.load import load
    from mcl.untrusted.text import printable

    require_at_least(1, "--top", arguments.top)
    images = [image for place in arguments.images for image in _images_of(place)]
    network = load(
        arguments.run,
        arguments.network,
        weights=arguments.weights,
        allow=arguments.allow,
        allow_older=arguments.allow_older,
    )
    preprocessing, classes = network.__dict__["preprocessing"], network.__dict__["classes"]
    status = 0
    for path in images:
        try:
            image = preprocessing(path)
        except UserError as error:
            print(f"error: {printable(error)}", file=sys.stderr)
            status = 1
            continue
        probabilities, labels = logits(network, image)[0].softmax(0).topk(min(arguments.top, len(classes)))
        pairs = zip(probabilities.tolist(), labels.tolist(), strict=True)
        named = ", ".join(f"{classes[label]} {100 * probability:.1f} %" for probability, label in pairs)
        print(f"{printable(path)}: {named}")
    return status


def _images_of(place: Path) -> list[Path]:
    """Return a file itself, and the images of a folder and its subfolders, except hidden ones, by name."""
    from mcl.data.listing import EXTENSIONS, images_below

    if not place.is_dir():
        return [place]
    images = [path for name in images_below(place, place) if (path := place / name).is_file()]
    if not images:
        raise UserError(f"{place}: there is no image in this folder. Its files must end in {', '.join(EXTENSIONS)}.")
    return images
