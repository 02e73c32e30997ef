"""How much the pixels of images that the device decodes differ from those that workers decode."""

from typing import Any

import torch

from mcl.data.dataset import Images
from mcl.data.device_decoding import decode_batch
from mcl.data.encoded import Encode, EncodedBatch, pack
from mcl.data.image_files import ImageFiles

IMAGES = 32


def pixel_difference(files: Images | ImageFiles, device: torch.device) -> dict[str, Any] | None:
    """Decode the first images both ways, with the same random crops.

    Returns:
        The mean and the largest absolute difference, in levels of 256, and the number of images; None if the device
        decodes none.
    """
    if not isinstance(files, ImageFiles) or files.device_crop is None:
        return None
    encode, paths = (
        Encode(files.decode, files.device_crop),
        [files.path(i) for i in range(min(IMAGES, len(files.paths)))],
    )
    with torch.random.fork_rng(devices=[]):
        pixels, encoded = [], []
        for seed, path in enumerate(paths):
            torch.manual_seed(seed)
            pixels.append(torch.from_numpy(files.decode(path).copy()))
            torch.manual_seed(seed)
            encoded.append(encode(path))
    batch = pack(encoded)
    if not isinstance(batch, EncodedBatch):
        return None
    images, failed = decode_batch(batch, files.device_crop, device)
    compared = [i for i, length in enumerate(batch.lengths.tolist()) if length and i not in failed]
    if not compared:
        return None
    difference = (images[compared].cpu().int() - torch.stack(pixels)[compared].int()).abs()
    return {"mean": float(difference.float().mean()), "largest": int(difference.max()), "images": len(compared)}
