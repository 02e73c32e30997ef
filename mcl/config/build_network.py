"""Build networks by the names of their files in ``conf/network``."""

from collections.abc import Mapping
from typing import Any, Literal, cast, overload

from omegaconf import OmegaConf

from mcl.config.conf_folder import conf_folder
from mcl.config.instantiate import build
from mcl.errors import unknown
from mcl.networks.backbone import Backbone
from mcl.networks.branch_names import COPY
from mcl.networks.branches import Network
from mcl.networks.library_names import node_of, split_choice
from mcl.runs.identity import CUSTOM
from mcl.runs.pair import network_node


def network_names() -> list[str]:
    """Return the names of all networks of this project, e.g. ``resnet32`` and ``imagenet/resnet18``."""
    folder = conf_folder() / "network"
    names = (file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    return sorted(name for name in names if name != CUSTOM)


def network_of(node: Mapping[str, Any]) -> str | None:
    """Return the name of the network that a configuration builds unchanged; None if it has other options."""
    folder, built = conf_folder() / "network", network_node(node)
    for name in network_names():
        if OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml")) == built:
            return name
    name = str(node.get("name"))
    return name if split_choice(name) and network_node(node_of(name)) == built else None


@overload
def build_network(
    name: str, num_classes: int, *, branches: Literal[False] = False, in_channels: int = 3
) -> Backbone: ...


@overload
def build_network(name: str, num_classes: int, *, branches: Literal[True] | str, in_channels: int = 3) -> Network: ...


def build_network(
    name: str, num_classes: int, *, branches: bool | str = False, in_channels: int = 3
) -> Backbone | Network:
    """Build a newly initialized network.

    Examples:
        >>> from mcl import build_network
        >>> backbone = build_network("resnet32", 100)  # images (B, 3, H, W) -> logits (B, 100)

    Args:
        name: name of a file in ``conf/network``, e.g. ``"resnet32"`` or ``"imagenet/resnet18"``, or of a model of a
            library, e.g. ``"timm/convnext_atto"`` or ``"torchvision/vgg11"``.
        num_classes: classes C.
        branches: add the auxiliary branches, copies of the later stages or those of a kind: ``"light"``, ``"byot"`` or
            ``"dks"``; the network then returns ``mcl.types.Outputs``.
        in_channels: channels of the images.

    Raises:
        UserError: no network has this name, or it cannot have these branches.
    """
    node: Any = network_node(node_of(name))
    if node is None and name not in network_names():
        raise unknown("network", f"network={name}", network_names())
    if node is None:
        node = OmegaConf.load(conf_folder() / "network" / f"{name}.yaml")
    backbone = cast(Backbone, build(node, path="network", num_classes=num_classes, in_channels=in_channels))
    if branches is False:
        return backbone
    return Network(backbone, branched=True, branch_kind=COPY if branches is True else branches)
