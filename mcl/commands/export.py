"""``python -m mcl export``: write the networks of a run as files to use elsewhere."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.commands.arguments import add_run, add_weights, check_out, require_at_least
from mcl.errors import UserError
from mcl.networks.library_names import LIBRARIES

if TYPE_CHECKING:
    from mcl.deploy.quantization import Quantized
    from mcl.deploy.saved_run import SavedRun

HELP = "Write the networks of a run as PyTorch, safetensors or ONNX files, also int8, checked, with a model card."
EPILOG = """\
examples:

  python -m mcl export RUN --format onnx
  python -m mcl export RUN --format onnx --int8
  python -m mcl export RUN --format safetensors --network second --weights best
  python -m mcl export RUN --format torch-export
  python -m mcl export RUN --format torch --names torchvision

Each file holds one network without auxiliary branches, its preprocessing and its class names. Each is read
back and compared with the network. python -m mcl predict and mcl.load take the files, except those of torch-export
(.pt2), which torch.export.load reads without mcl.

With --names timm or torchvision, a file is a state dict for that library's own model and nothing else: load it
with model.load_state_dict(torch.load(FILE)), or in a run with pair.first.weights=FILE.

--int8 writes a second ONNX file of each network: 8-bit weights and activations, calibrated on training images of the
run. It measures both files on the test images, and writes the accuracies to the card and to a JSON file. Options
such as dataset.root=FOLDER say where the images are. python -m mcl latency compares the speed of files."""


CALIBRATION = 256  # training images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    add_run(parser)
    parser.add_argument("overrides", nargs="*", metavar="option=value", help="with --int8: where the images are")
    parser.add_argument(
        "--format", choices=["torch", "safetensors", "onnx", "torch-export"], required=True, help="file format"
    )
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        help="number (from 0), key or name; repeat for more; default: all, or the leader",
    )
    parser.add_argument(
        "--names",
        choices=["native", *LIBRARIES],
        help="names of the tensors: those of a library, whose model then loads the file strictly; native: this"
        " project's, with a recipe of the layers beside the file; default: native without a recipe",
    )
    add_weights(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: RUN/export")
    parser.add_argument("--int8", action="store_true", help="also write int8 files and measure them (format onnx)")
    parser.add_argument(
        "--calibration", type=int, metavar="N", help=f"with --int8: training images; default: {CALIBRATION}"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="with --int8: seed of their choice; default: 0")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what was written."""
    from mcl.console import display_path
    from mcl.deploy.card_int8 import large_losses
    from mcl.deploy.export import CARD, export_networks
    from mcl.deploy.saved_run import SavedRun

    check_out(arguments.out)
    _check_int8(arguments)
    saved = SavedRun(arguments.run, arguments.overrides, arguments.allow, allow_older=arguments.allow_older)
    calibration = arguments.calibration
    if arguments.int8 and calibration is None:
        calibration = min(CALIBRATION, sum(saved.dataset.spec.counts))
    files = export_networks(
        saved,
        arguments.format,
        networks=arguments.network,
        weights=arguments.weights,
        folder=arguments.out,
        calibration=calibration,
        seed=arguments.seed or 0,
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
        if file.int8 is not None:
            _print_int8(file.int8)
        if file.recipe is not None:
            print(f"{display_path(file.recipe)}  its layers in order, and their tensors")
    print(display_path(files[0].path.parent / CARD))
    print(f"weights: {_weights(saved, saved.chosen_keys(arguments.network), arguments.weights)}")
    for note in large_losses([file.int8 for file in files if file.int8 is not None]):
        print(f"note: {note}")
    return 0


def _check_int8(arguments: argparse.Namespace) -> None:
    if arguments.int8:
        if arguments.format != "onnx":
            raise UserError(f"--int8: --format {arguments.format} has none. Use --format onnx.")
        require_at_least(1, "--calibration", arguments.calibration)
        require_at_least(0, "--seed", arguments.seed)
        return
    given = {"--calibration": arguments.calibration, "--seed": arguments.seed}
    for option in [*arguments.overrides[:1], *(name for name, value in given.items() if value is not None)]:
        raise UserError(f"{option}: export reads images only with --int8. Add --int8, or leave {option} out.")


def _weights(run: "SavedRun", keys: list[str], weights: str) -> str:
    """Describe the weights that were exported, and how to take the best ones if validation images chose them."""
    epochs = run.best_epochs(keys)
    named = [f"{epoch} of {key}" if len(epochs) > 1 else str(epoch) for key, epoch in epochs.items()]
    best = f"best epoch {', '.join(named)}"
    if weights == "best":
        return f"{best}, chosen on the {run.chosen_on} images"
    last = "last" if run.imported is not None else f"last (step {run.step:,})"
    return f"{last}; {best}: --weights best" if epochs and run.chosen_on == "validation" else last


def _print_int8(result: "Quantized") -> None:
    from mcl.console import display_path

    difference, (low, high) = result.difference.difference, result.difference.interval
    share = result.path.stat().st_size / result.float32.stat().st_size
    print(
        f"{display_path(result.path)}  {result.path.stat().st_size / 1e6:.2f} MB ({100 * share:.0f} % of float32)\n"
        f"  top-1 on {result.images:,} test images: {result.int8_top1:.2f}, float32 {result.float32_top1:.2f},"
        f" difference {difference:+.2f} ({low:+.2f} to {high:+.2f}), {result.same_labels:.1f} % same labels"
    )
