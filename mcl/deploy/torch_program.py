"""Export to a program of torch.export, for batches of any size: PyTorch alone runs the file, without mcl."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mcl.deploy.metadata import NetworkMetadata
from mcl.networks.backbone import Backbone

METADATA = "metadata.json"  # the extra file in the program


def encode_program(backbone: Backbone, metadata: NetworkMetadata) -> bytes:
    """Encode a program from preprocessed images (B, channels, size, size) float32 to logits (B, classes), for any B.

    Its extra file ``metadata.json`` holds the metadata: ``classes``, ``preprocessing``, ...
    """
    example = torch.zeros(2, *metadata.preprocessing.image_shape)
    program = torch.export.export(backbone, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    content = io.BytesIO()
    text = json.dumps(metadata.as_dict(), ensure_ascii=False)
    torch.export.save(program, content, extra_files={METADATA: text})
    return content.getvalue()


def read_program(path: Path, allow: Sequence[str] = ()) -> nn.Module:
    """Read what `encode_program` gave, to check it. Reading a program can run code in it: never read another's."""
    return torch.export.load(path).module()
