"""Estimate the memory and the disk space that a run surely needs, and refuse it before anything is allocated."""

import shutil
from pathlib import Path

import torch
from torch import nn

from mcl.data.available_memory import available_memory
from mcl.data.dataset import Dataset, InMemoryDataset, Splits
from mcl.data.disk_loader import PREFETCH
from mcl.data.image_files import ImageFiles
from mcl.devices import compute_dtype
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.losses.contrast_sources import BankContrast
from mcl.losses.lmcl import LMCL
from mcl.networks.cohort import Cohort
from mcl.networks.counting import outline
from mcl.runs.layout import CHECKPOINTS
from mcl.training.options import TrainerOptions
from mcl.training.trainer import Trainer

SMALLER = "Use a smaller trainer.batch_size or dataset.image_size"


def check_batch_memory(dataset: Dataset, cohort: Cohort, options: TrainerOptions, *, processes: int) -> None:
    """Raise UserError if one batch, with the first feature maps of all networks, cannot fit into memory.

    This is a lower bound: training also keeps later feature maps and gradients.
    """
    spec = dataset.spec
    pixels = spec.channels * spec.image_size**2
    if isinstance(dataset, InMemoryDataset):
        _require(
            sum(spec.counts) * pixels,
            available_memory(),
            f"{sum(spec.counts):,} training images of {_shape(dataset)}",
            "memory are free. Use a smaller dataset.image_size, or dataset.limit for fewer images of each class.",
        )
    batch = -(-options.batch_size // processes)
    stored = compute_dtype(options.precision).itemsize  # bytes of a number in a feature map
    maps = sum(_stem_outputs(backbone.stem, spec.channels, spec.image_size) for backbone in cohort.backbones)
    _require(
        batch * pixels * (1 + 4) + -(-batch // options.accumulate) * maps * stored,
        _free_on(options.device),
        f"a batch of {batch} images of {_shape(dataset)} and the first feature maps of the networks",
        f"memory are free on {options.device}. {SMALLER}.",
    )


def check_contrast_memory(loss: Loss, cohort: Cohort, options: TrainerOptions, *, processes: int) -> None:
    """Raise UserError if the rows of memory banks that one batch is compared with cannot fit into memory.

    This is a lower bound: the backward pass needs the rows in full precision, of the banks of all networks.
    """
    contrast = getattr(loss, "contrast", None)
    if not isinstance(loss, LMCL) or not isinstance(contrast, BankContrast):
        return
    batch, rows = -(-options.batch_size // processes), 1 + contrast.pos_k + contrast.neg_k
    _require(
        len(cohort.backbones) * batch * rows * loss.dim * 4,
        _free_on(options.device),
        f"the {rows:,} rows of memory banks for each of {batch} images",
        f"memory are free on {options.device}. Use a smaller loss.contrast.neg_k or trainer.batch_size.",
    )


def check_reader_memory(splits: Splits, dataset: Dataset, options: TrainerOptions, *, processes: int) -> None:
    """Raise UserError if the batches that readers hold ahead of training cannot fit into memory."""
    if not isinstance(splits.train, ImageFiles) or not splits.train.workers:
        return
    batch, workers = -(-options.batch_size // processes), splits.train.workers
    _require(
        workers * PREFETCH * batch * dataset.spec.channels * dataset.spec.image_size**2,
        available_memory(),
        f"{workers} processes that each read {PREFETCH} batches of {batch} images of {_shape(dataset)} ahead",
        f"memory are free. {SMALLER}, or dataset.workers.",
    )


def check_disk(trainer: Trainer, folder: Path, options: TrainerOptions) -> None:
    """Raise UserError if the checkpoints of a run cannot fit on the disk of its folder.

    The next one is written beside those that are kept. Existing ones, of the same run, make room.
    """
    size = _checkpoint_bytes(trainer)
    kept = min(options.max_checkpoints, options.epochs)
    existing = sum(file.stat().st_size for file in (folder / CHECKPOINTS).glob("*.pt"))
    _require(
        max(size, size * (kept + 1) - existing),
        shutil.disk_usage(folder).free,
        f"checkpoints of {_amount(size)}, {kept} to keep and one to write,",
        f"the disk of {folder} are free. Free some space there, keep fewer (trainer.max_checkpoints=1), or choose"
        " another folder with hydra.run.dir=FOLDER.",
    )


def _require(needed: int, free: int | None, what: str, rest: str) -> None:
    if free is not None and needed > free:
        raise UserError(f"{what} take at least {_amount(needed)}, but {_amount(free)} of {rest}")


def _amount(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _shape(dataset: Dataset) -> str:
    spec = dataset.spec
    return f"{spec.channels} x {spec.image_size} x {spec.image_size}"


def _free_on(device: torch.device) -> int | None:
    """Return the bytes that are free on a device, cached blocks included; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return available_memory()


def _stem_outputs(stem: nn.Module, channels: int, side: int) -> int:
    """Return how many numbers a stem makes of one image; 0 if shapes alone do not tell."""
    try:
        with torch.no_grad():
            made = outline(stem)(torch.empty(1, channels, side, side, device="meta"))
    except Exception:  # in a user's own class: training reports it
        return 0
    return int(made.numel()) if isinstance(made, torch.Tensor) else 0


def _checkpoint_bytes(trainer: Trainer) -> int:
    """Return the size of the tensors in a checkpoint: weights, best backbones, and the states of the optimizers."""
    learner = trainer.learner
    tensors = [*learner.state_dict().values()]
    tensors += [value for backbone in learner.cohort.backbones for value in backbone.state_dict().values()]
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            states = 2 if "betas" in group else int(bool(group.get("momentum")))  # as for Adam; as for SGD
            tensors += [parameter for parameter in group["params"] if parameter.requires_grad] * states
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
