"""``python -m mcl networks``: list parameters and multiply-adds of every network, alone and as a pair."""

import argparse

from mcl.commands.arguments import require_at_least

HELP = "Table of all networks: parameters, multiply-adds, stages, and what training a pair of them costs."
EPILOG = """\
multiply-adds count convolutions and linear layers for one image, in a forward pass.
pair, parameters: two of them with their auxiliary branches, as they are while training.
pair, a step: multiply-adds of one training step per image, 3 times the forward pass of that pair: a backward pass
costs twice a forward one. Heads, losses and the meta rounds of loss=lmcl come on top."""
COLUMNS = (
    "classes",
    "pixels",
    "parameters",
    "multiply-adds",
    "stages",
    "width",
    "pair, parameters",
    "pair, a step",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``networks``."""
    parser.add_argument("--classes", type=int, help="number of classes; default: 100, or 1000 for imagenet/ networks")
    parser.add_argument("--size", type=int, help="side of the images; default: 32, or 224 for imagenet/ networks")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from mcl.config.build_network import network_names
    from mcl.console import announced, make_console, plain_table, print_table

    require_at_least(1, "--classes", arguments.classes)
    require_at_least(1, "--size", arguments.size)
    table = plain_table("network", numbers=COLUMNS)
    with announced("building and measuring every network"):
        for name in network_names():
            table.add_row(name, *_row(name, arguments.classes, arguments.size))
    console = make_console()
    print_table(console, table)
    console.print(f"\n{EPILOG}", style="dim", soft_wrap=True)
    return 0


def _row(name: str, classes: int | None, size: int | None) -> list[str]:
    from mcl.config.build_network import build_network
    from mcl.networks.counting import FORWARD_AND_BACKWARD, multiply_adds, parameters

    default = (1000, 224) if name.startswith("imagenet/") else (100, 32)
    classes, size = classes or default[0], size or default[1]
    network = build_network(name, classes, branches=True)
    backbone = network.backbone
    backbone.check_input(backbone.in_channels, size)
    image = (backbone.in_channels, size, size)
    return [
        str(classes),
        str(size),
        f"{parameters(backbone):,}",
        in_millions(multiply_adds(backbone, image)),
        str(len(backbone.stages)),
        str(backbone.width),
        f"{2 * parameters(network):,}",
        in_millions(FORWARD_AND_BACKWARD * 2 * multiply_adds(network, image)),
    ]


def in_millions(count: int) -> str:
    """Format as ``"69.13 M"``."""
    return f"{count / 1e6:,.2f} M"
