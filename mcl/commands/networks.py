"""``python -m mcl networks``: list parameters and multiply-adds of every network, alone and as a pair."""

import argparse
from typing import TYPE_CHECKING

from mcl.commands.arguments import require_at_least

if TYPE_CHECKING:
    from mcl.networks.branches import Network

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
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, such as resnet32 or timm/convnext_atto")
    parser.add_argument(
        "--classes", type=int, help="number of classes; default: 100, or 1000 for imagenet/, timm/, ..."
    )
    parser.add_argument("--size", type=int, help="side of the images; default: 32, or 224 for imagenet/, timm/, ...")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from mcl.config.build_network import network_names
    from mcl.console import announced, make_console, plain_table, print_table

    require_at_least(1, "--classes", arguments.classes)
    require_at_least(1, "--size", arguments.size)
    table = plain_table("network", numbers=COLUMNS)
    names = arguments.names or network_names()
    with announced("building and measuring every network"):
        for name in names:
            table.add_row(name, *_row(name, arguments.classes, arguments.size))
    console = make_console()
    print_table(console, table)
    for name in arguments.names:
        console.print(f"\n{_branches(name, arguments.classes, arguments.size)}", soft_wrap=True, highlight=False)
    console.print(f"\n{EPILOG}", style="dim", soft_wrap=True)
    return 0


def _row(name: str, classes: int | None, size: int | None) -> list[str]:
    from mcl.console import in_millions
    from mcl.networks.counting import FORWARD_AND_BACKWARD, multiply_adds, parameters

    classes, size = _sizes(name, classes, size)
    network = _network(name, classes, size)
    backbone = network.backbone
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


def _branches(name: str, classes: int | None, size: int | None) -> str:
    """Return the sizes of a network's stages, and what each kind of branches costs."""
    from mcl.console import in_millions
    from mcl.networks.branch_kinds import kinds_of
    from mcl.networks.counting import multiply_adds, parameters

    classes, size = _sizes(name, classes, size)
    network = _network(name, classes, size)
    backbone = network.backbone
    sizes = [" x ".join(map(str, shape)) for shape in backbone.map_shapes(size)]
    ends = backbone.stage_names or range(1, len(sizes) + 1)
    stages = ", ".join(f"{stage} ({shape})" for stage, shape in zip(ends, sizes, strict=True))
    lines = [f"{name}: stages {'end with ' if backbone.stage_names else ''}{stages}"]
    for kind in kinds_of(backbone) if len(network.branches) else ():
        network = _network(name, classes, size, kind)
        branches = network.branches
        cost = multiply_adds(network, (3, size, size)) - multiply_adds(network.backbone, (3, size, size))
        lines.append(
            f"  branches={kind}: {parameters(branches):,} parameters and {in_millions(cost)} multiply-adds more"
        )
    return "\n".join(lines)


def _sizes(name: str, classes: int | None, size: int | None) -> tuple[int, int]:
    default = (100, 32) if "/" not in name else (1000, 224)
    return classes or default[0], size or default[1]


def _network(name: str, classes: int, size: int, kind: str = "copy") -> "Network":
    """Build a network with its branches, if it has two stages, for images of a size."""
    from mcl.config.build_network import build_network
    from mcl.networks.branches import Network

    backbone = build_network(name, classes)
    backbone.check_input(backbone.in_channels, size)
    return Network(backbone, branched=len(backbone.stages) > 1, branch_kind=kind)
