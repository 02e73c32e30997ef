"""Export to ONNX, for batches of any size, and run the file with onnxruntime."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mcl.console import pluralize
from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.extras import require
from mcl.networks.backbone import Backbone
from mcl.untrusted.tensors import load_onnx

INPUT, OUTPUT = "images", "logits"


def encode_onnx(backbone: Backbone, metadata: NetworkMetadata) -> bytes:
    """Encode a model from preprocessed images (B, channels, size, size) float32 to logits (B, classes), for any B.

    The model's ``metadata_props`` hold the metadata as JSON: ``classes``, ``preprocessing``, ...

    Raises:
        UserError: A package that ONNX needs is not installed.
    """
    require("onnx", asked="format onnx")
    import onnx

    example = torch.zeros(2, *metadata.preprocessing.image_shape)
    with quiet():
        program = torch.onnx.export(
            backbone,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata.as_text())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class OnnxNetwork(nn.Module):
    """An exported ONNX file as a module that takes and gives tensors; onnxruntime chooses ``threads`` if it is None.

    Raises:
        UserError: The file is not one of `encode_onnx`.
    """

    def __init__(self, path: Path, threads: int | None = None):
        super().__init__()
        require("onnx", asked=str(path))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4
        options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads leave the cores to others
        metadata, self.session = load_onnx(path, options)
        about = NetworkMetadata.from_text(metadata, str(path))
        about.attach_to(self)
        shape, classes = about.preprocessing.image_shape, len(about.classes)
        try:
            fits = self(torch.zeros(1, *shape)).shape == (1, classes)
        except Exception:  # onnxruntime raises its own kinds
            fits = False
        if not fits:
            raise UserError(
                f"{path} is damaged or was altered: it does not map images of {' x '.join(map(str, shape))} to"
                f" {pluralize(classes, 'logit')}, as its metadata state."
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map preprocessed images (B, channels, size, size) to logits (B, classes)."""
        (logits,) = self.session.run([OUTPUT], {INPUT: images.float().contiguous().numpy()})
        return torch.from_numpy(logits)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the log lines and warnings of libraries that write ONNX files."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
