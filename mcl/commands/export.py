"""``python -m mcl export``: the networks of a run as files to use elsewhere."""

import argparse
from pathlib import Path

HELP = "Write the networks of a run as PyTorch, safetensors or ONNX files, checked, with a model card."
EPILOG = """\
examples:

  python -m mcl export RUN --format onnx
  python -m mcl export RUN --format safetensors --network second --weights best

Each file holds one network without auxiliary branches, its preprocessing and its class names. After writing it is
read again and compared with the network. python -m mcl predict and mcl.load take the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``export``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder or bundle")
    parser.add_argument("--format", choices=["torch", "safetensors", "onnx"], required=True, help="of the files")
    parser.add_argument(
        "--network", action="append", default=[], help="number (from 0), key or name; again for more; default: all"
    )
    parser.add_argument(
        "--weights", choices=["last", "best"], default="last", help="as training left them, or of the best epoch"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: RUN/export")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that RUN may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and say what was written."""
    from mcl.console import display_path
    from mcl.deploy.export import CARD, export_networks
    from mcl.deploy.saved_run import SavedRun

    saved = SavedRun(arguments.run, allow=arguments.allow)
    files = export_networks(
        saved, arguments.format, networks=arguments.network, weights=arguments.weights, folder=arguments.out
    )
    for file in files:
        size = file.path.stat().st_size / 1e6
        print(
            f"{display_path(file.path)}  {size:.2f} MB, logits within {file.difference:.1e} of PyTorch's, same labels"
        )
        if file.milliseconds is not None:
            print(
                f"  one image: {file.milliseconds:.2f} ms in onnxruntime, {file.torch_milliseconds:.2f} ms in PyTorch"
            )
    print(display_path(files[0].path.parent / CARD))
    return 0
