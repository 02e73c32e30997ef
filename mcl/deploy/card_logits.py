"""The logits in the card of a release: of images that anybody can draw, so that anybody can check the networks."""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mcl.data.preprocessing import Preprocessing
from mcl.deploy.formats import logits
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.untrusted.text import decode_json

IMAGES, SEED = 16, 0
PATCHES = 4  # along each side of an image
DIGITS = 5  # behind the point
TOLERANCE = 1e-3  # relative and absolute: other processors and threads add in another order
DRAWING = """\
patches = numpy.random.RandomState({seed}).randint(0, 256, ({count}, {channels}, 4, 4), numpy.uint8)
images = patches.repeat({times}, 2).repeat({times}, 3)[..., :{size}, :{size}]  # uint8"""
_BLOCK = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)


def draw_images(preprocessing: Preprocessing, seed: int = SEED) -> Tensor:
    """Draw images of random patches, (16, channels, size, size) uint8; NumPy guarantees this stream of numbers."""
    size = preprocessing.image_size
    shape = (IMAGES, preprocessing.channels, PATCHES, PATCHES)
    patches = np.random.RandomState(seed).randint(0, 256, shape, np.uint8)
    times = -(-size // PATCHES)
    return torch.from_numpy(patches.repeat(times, 2).repeat(times, 3)[..., :size, :size].copy())


def drawing(preprocessing: Preprocessing, seed: int = SEED) -> str:
    """Return the lines of Python that draw these images with numpy alone."""
    times, size = -(-preprocessing.image_size // PATCHES), preprocessing.image_size
    return DRAWING.format(seed=seed, count=IMAGES, channels=preprocessing.channels, times=times, size=size)


def encode_logits(run: SavedRun) -> str:
    """Return the logits of a run's networks for these images, as the block of JSON of a card."""
    lines = [f'  "{key}": [\n{_rows(values)}\n  ]' for key, values in _computed(run, SEED).items()]
    return "```json\n" + f'{{"seed": {SEED}, "logits": {{\n' + ",\n".join(lines) + "\n}}\n```"


def check_logits(run: SavedRun, card: str) -> float:
    """Compare the networks of a release with the logits in its card; return the largest difference.

    Raises:
        UserError: The card holds no logits, or they are others.
    """
    seed, stated = _decode(card, str(run.source.path))
    largest = 0.0
    for key, actual in _computed(run, seed).items():
        expected = _tensor(stated.get(key), run)
        if expected.shape != actual.shape:
            raise UserError(f"{run.source.path}: its card has no logits of {key} for {IMAGES} images.")
        largest = max(largest, float((actual - expected).abs().max()))
        if not torch.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise UserError(
                f"{run.source.path}: {key} computes other logits than its card states: they differ by {largest:.2g}."
                " Do not use the file."
            )
    return largest


def _computed(run: SavedRun, seed: int) -> dict[str, Tensor]:
    preprocessing = run.preprocessing
    images = preprocessing.normalize(draw_images(preprocessing, seed))
    return {key: logits(run.backbone(key), images) for key in run.keys}


def _rows(values: Tensor) -> str:
    return ",\n".join(f"    {json.dumps([round(value, DIGITS) for value in row])}" for row in values.tolist())


def _decode(card: str, source: str) -> tuple[int, Mapping[str, Any]]:
    block = _BLOCK.search(card)
    values = decode_json(block[1], f"{source}: logits of its card") if block else None
    if not isinstance(values, dict) or not isinstance(values.get("logits"), dict):
        raise UserError(f"{source}: its card holds no logits.")
    seed = values.get("seed")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise UserError(f"{source}: the logits of its card have no seed.")
    return seed, values["logits"]


def _tensor(rows: Any, run: SavedRun) -> Tensor:
    try:
        return torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{run.source.path}: the logits of its card are not numbers.") from error
