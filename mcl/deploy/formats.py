"""File formats of one network with everything needed to use it: writing and reading."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcl.deploy.metadata import About
from mcl.deploy.onnx_file import OnnxNetwork, write_onnx
from mcl.deploy.saved_run import build_kind
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.networks.backbone import Backbone
from mcl.runs import checkpoints

_NETWORK = "network"


class Format(NamedTuple):
    """How one kind of file is written, and read with the caller's own modules allowed."""

    suffix: str
    write: Callable[[Path, Backbone, About], None]
    read: Callable[[Path, Sequence[str]], nn.Module]


def write_torch(path: Path, backbone: Backbone, about: About) -> None:
    """For PyTorch, also without mcl: ``torch.load(path, weights_only=True)["network"]`` is the state dict."""
    checkpoints.save(path, {_NETWORK: _cpu(backbone), "about": about.as_dict()})


def read_torch(path: Path, allow: Sequence[str] = ()) -> Backbone:
    """The backbone that ``write_torch`` wrote."""
    found = checkpoints.load(path)
    if _NETWORK not in found:
        raise UserError(f"{path} is a checkpoint of a run: name its run folder instead.")
    return _rebuilt(found[_NETWORK], About.from_dict(found.get("about") or {}, str(path)), path, allow)


def write_safetensors(path: Path, backbone: Backbone, about: About) -> None:
    """For anything that reads safetensors; what is known of the network is in the metadata, as JSON."""
    write_atomically(path, safetensors_bytes(backbone, about))


def safetensors_bytes(backbone: Backbone, about: About) -> bytes:
    """What ``write_safetensors`` writes."""
    from safetensors.torch import save

    return bytes(save(_cpu(backbone), metadata=about.as_text()))


def read_safetensors(path: Path, allow: Sequence[str] = ()) -> Backbone:
    """The backbone that ``write_safetensors`` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = About.from_text(file.metadata(), str(path))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from error
    return _rebuilt(state, about, path, allow)


def read_onnx(path: Path, allow: Sequence[str] = ()) -> OnnxNetwork:
    """The network that ``write_onnx`` wrote, run by onnxruntime. No module is needed for it."""
    return OnnxNetwork(path)


FORMATS = {
    "torch": Format(".pt", write_torch, read_torch),
    "safetensors": Format(".safetensors", write_safetensors, read_safetensors),
    "onnx": Format(".onnx", write_onnx, read_onnx),
}


def with_about(network: nn.Module, about: About) -> nn.Module:
    """Let a network have what goes with it as attributes, outside its state dict."""
    network.__dict__.update(preprocessing=about.preprocessing, classes=about.classes)
    return network


def _rebuilt(state: dict[str, Tensor], about: About, path: Path, allow: Sequence[str]) -> Backbone:
    backbone = build_kind(
        Backbone,
        about.architecture,
        path="architecture",
        allow=allow,
        num_classes=len(about.classes),
        in_channels=about.preprocessing.channels,
    )
    try:
        backbone.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: its weights do not fit its architecture. {reason}") from error
    with_about(backbone, about)
    return backbone.eval()


def _cpu(backbone: Backbone) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """What a network says of a batch."""
    answer = network(images)
    assert isinstance(answer, Tensor)
    return answer
