"""File formats for one network and everything needed to use it."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcl.deploy.kinds import build_kind
from mcl.deploy.metadata import WITHOUT_METADATA, NetworkMetadata
from mcl.deploy.onnx_file import OnnxNetwork, encode_onnx
from mcl.deploy.saved_run import build_with_weights
from mcl.deploy.torch_program import encode_program, read_program
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.runs import checkpoints
from mcl.runs.checkpoint_files import read_checksum
from mcl.runs.pair import network_node
from mcl.untrusted.tensors import load_safetensors

_NETWORK = "network"


class Format(NamedTuple):
    """A file format: its suffix, ``encode(backbone, metadata)`` and ``read(path, allowed_modules)``.

    If reading can run code in the file, only a file that this process has just written may be read.
    """

    suffix: str
    encode: Callable[[Backbone, NetworkMetadata], bytes]
    read: Callable[[Path, Sequence[str]], nn.Module]
    runs_code: bool = False


def encode_torch(backbone: Backbone, metadata: NetworkMetadata) -> bytes:
    """Encode a file for PyTorch: ``torch.load(path, weights_only=True)["network"]``, without mcl, is the state dict."""
    return checkpoints.encode({_NETWORK: _cpu_state(backbone), "about": metadata.as_dict()})


def read_torch(path: Path, allow: Sequence[str] = ()) -> Backbone:
    """Read what `encode_torch` gave.

    Raises:
        UserError: The file cannot be read, is the checkpoint of a run, or names a class that may not be built, or its
            weights do not fit.
    """
    if path.is_file() and read_checksum(path) is None:
        raise UserError(f"{path} {WITHOUT_METADATA}")
    content = checkpoints.load(path)
    if _NETWORK not in content:
        raise UserError(f"{path} is a checkpoint of a run: name its run folder instead.")
    metadata = NetworkMetadata.from_dict(content.get("about"), str(path))
    return rebuild(content[_NETWORK], metadata, path, allow)


def encode_safetensors(backbone: Backbone, metadata: NetworkMetadata) -> bytes:
    """Encode a safetensors file; its header holds the metadata as JSON."""
    from safetensors.torch import save

    return _with_sorted_header(bytes(save(_cpu_state(backbone), metadata=metadata.as_text())))


def _with_sorted_header(content: bytes) -> bytes:
    """Sort the header of a safetensors file: the library writes the metadata in random order, so bytes would differ."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = header.pop("__metadata__")
    text = json.dumps({"__metadata__": dict(sorted(metadata.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def read_safetensors(path: Path, allow: Sequence[str] = ()) -> Backbone:
    """Read what `encode_safetensors` gave.

    Raises:
        UserError: The file cannot be read, or names a class that may not be built, or its weights do not fit.
    """
    metadata, state = load_safetensors(path)
    return rebuild(state, NetworkMetadata.from_text(metadata, str(path)), path, allow)


FORMATS = {
    "torch": Format(".pt", encode_torch, read_torch),
    "safetensors": Format(".safetensors", encode_safetensors, read_safetensors),
    "onnx": Format(".onnx", encode_onnx, lambda path, allow: OnnxNetwork(path)),  # builds no class: nothing to allow
    "torch-export": Format(".pt2", encode_program, read_program, runs_code=True),
}


def rebuild(state: Mapping[str, Tensor], metadata: NetworkMetadata, path: Path, allow: Sequence[str]) -> Backbone:
    """Return the network that metadata describes, with the weights of a file; in evaluation mode, on the CPU.

    Raises:
        UserError: The metadata names a class that may not be built, or the weights do not fit the network.
    """
    build = partial(
        build_kind,
        Backbone,
        network_node(metadata.architecture),  # older files hold the kind of branches
        path="architecture",
        allow=allow,
        num_classes=len(metadata.classes),
        in_channels=metadata.preprocessing.channels,
    )
    backbone = build_with_weights(build, state, path)
    backbone.check_input(metadata.preprocessing.channels, metadata.preprocessing.image_size)
    metadata.attach_to(backbone)
    return backbone.eval()


def _cpu_state(backbone: Backbone) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Run a network on a batch, without gradients."""
    outputs: Tensor = network(images)
    return outputs
