"""``python -m mcl predict``: classify images."""

import argparse
import sys
from pathlib import Path

from mcl.errors import UserError

HELP = "Classify images with a network of a run, a bundle or an exported file."
EPILOG = """\
examples:

  python -m mcl predict RUN cat.jpg dog.png
  python -m mcl predict RUN/export/first-resnet32.onnx *.jpg --top 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``predict``."""
    parser.add_argument("place", type=Path, metavar="RUN_OR_FILE", help="run folder, bundle or exported file")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    parser.add_argument("--network", default="0", help="of a run: number (from 0), key or name; default: the first")
    parser.add_argument("--weights", choices=["last", "best"], default="last", help="of a run")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name; default: %(default)s")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that RUN may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each image. The status is 1 when one could not be read."""
    from mcl.deploy.formats import logits
    from mcl.deploy.load import load

    if arguments.top < 1:
        raise UserError(f"--top {arguments.top}: must be at least 1.")
    network = load(arguments.place, arguments.network, weights=arguments.weights, allow=arguments.allow)
    preprocessing, classes = network.__dict__["preprocessing"], network.__dict__["classes"]
    status = 0
    for path in arguments.images:
        try:
            image = preprocessing(path)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
            continue
        shares, labels = logits(network, image)[0].softmax(0).topk(min(arguments.top, len(classes)))
        pairs = zip(shares.tolist(), labels.tolist(), strict=True)
        print(f"{path}: {', '.join(f'{classes[label]} {100 * share:.1f} %' for share, label in pairs)}")
    return status
