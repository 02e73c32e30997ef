"""Export to ONNX, for batches of any size, and run it with onnxruntime."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mcl.deploy.metadata import About
from mcl.errors import UserError
from mcl.extras import require
from mcl.files import write_atomically
from mcl.networks.backbone import Backbone

INPUT, OUTPUT = "images", "logits"


def write_onnx(path: Path, backbone: Backbone, about: About) -> None:
    """Images (B, channels, size, size) float32, preprocessed, to logits (B, classes), B free.

    What is known of the network is in the model's ``metadata_props``, as JSON: ``classes``, ``preprocessing``, ...
    """
    require("onnx", asked=f"{path.name}")
    import onnx

    size = about.preprocessing.image_size
    example = torch.zeros(2, about.preprocessing.channels, size, size)
    with _quiet():
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
    onnx.helper.set_model_props(model, about.as_text())
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString())


class OnnxNetwork(nn.Module):
    """An exported ONNX file as a module: tensors in, tensors out, onnxruntime in between.

    Args:
        path: the file.
        threads: of one operation; None leaves the choice to onnxruntime.

    Raises:
        UserError: it is not a file that ``write_onnx`` made.
    """

    def __init__(self, path: Path, threads: int | None = None):
        super().__init__()
        require("onnx", asked=str(path))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4
        try:
            self.session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has its own kinds
            raise UserError(f"{path} cannot be read as an ONNX model: {' '.join(str(error).split())[:300]}") from error
        about = About.from_text(self.session.get_modelmeta().custom_metadata_map, str(path))
        self.__dict__.update(preprocessing=about.preprocessing, classes=about.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, channels, size, size) to logits (B, classes)."""
        (answer,) = self.session.run([OUTPUT], {INPUT: images.float().contiguous().numpy()})
        return torch.from_numpy(answer)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter has to say about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
