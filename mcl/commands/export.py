"""``python -m mcl export``: write the networks of a run as files to use elsewhere."""

import argparse
from pathlib import Path

from mcl.commands.arguments import add_run, add_weights, check_out

HELP = "Write the networks of a run as PyTorch, safetensors or ONNX files, checked, with a model card."
EPILOG = """\
examples:

  python -m mcl export RUN --format onnx
  python -m mcl export RUN --format safetensors --network second --weights best
  python -m mcl export RUN --format torch --names torchvision

Each file holds one network without auxiliary branches, its preprocessing and its class names. Each is read
back and compared with the network. python -m mcl predict and mcl.load take the files.

With --names timm or torchvision, a file is a state dict for that library's own model and nothing else: load it
with model.load_state_dict(torch.load(FILE)), or in a run with pair.first.weights=FILE."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    add_run(parser)
    parser.add_argument("--format", choices=["torch", "safetensors", "onnx"], required=True, help="file format")
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        help="number (from 0), key or name; repeat for more; default: all, or the leader",
    )
    parser.add_argument(
        "--names",
        choices=["native", "timm", "torchvision"],
        help="names of the tensors: those of a library, whose model then loads the file strictly; native: this"
        " project's, with a recipe of the layers beside the file; default: native without a recipe",
    )
    add_weights(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: RUN/export")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what was written."""
    from mcl.console import display_path
    from mcl.deploy.export import CARD, export_networks
    from mcl.deploy.saved_run import SavedRun

    check_out(arguments.out)
    saved = SavedRun(arguments.run, allow=arguments.allow, allow_older=arguments.allow_older)
    files = export_networks(
        saved,
        arguments.format,
        networks=arguments.network,
        weights=arguments.weights,
        folder=arguments.out,
        names=arguments.names,
    )
    for file in files:
        size = file.path.stat().st_size / 1e6
        checked = file.checked or f"logits within {file.difference:.1e} of PyTorch's, same labels"
        print(f"{display_path(file.path)}  {size:.2f} MB, {checked}")
        if file.milliseconds is not None:
            print(
                f"  one image: {file.milliseconds:.2f} ms in onnxruntime, {file.torch_milliseconds:.2f} ms in PyTorch"
            )
        if file.recipe is not None:
            print(f"{display_path(file.recipe)}  its layers in order, and their tensors")
    print(display_path(files[0].path.parent / CARD))
    return 0
