"""``python -m mcl import``: turn a checkpoint of the L-MCL authors' code into a run folder."""

import argparse
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mcl.data.preprocessing import Preprocessing

HELP = "Read a checkpoint of the official L-MCL code into a run folder."
EPILOG = """\
examples:

  python -m mcl import lmcl_resnet32_cifar.pth.tar --pair resnet32 --out runs/official/resnet32
  python -m mcl import resnet32_cifar.pth.tar --pair resnet32 --out runs/official/baseline --dataset cifar10

The networks are imported, with their auxiliary branches where the checkpoint has them. Official checkpoints hold no
projection heads, aggregators, matching network or optimizer state, so training goes on from the networks alone, as a
run of its own:  python train.py dataset=cifar100 pair=resnet32 init_from=runs/official/resnet32"""
NETWORKS = "net"  # where official checkpoints keep them
IMAGENET = "imagenet"
_BRANCHES_ALONE = "loss=deep_supervision"  # needs branches and has no parts of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``import``."""
    parser.add_argument("file", type=Path, metavar="OFFICIAL.pth.tar", help="a baseline or a pair")
    parser.add_argument("--pair", required=True, help="which networks: a choice of pair=, or the official --arch")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run folder to make")
    parser.add_argument(
        "--dataset", help="what they were trained on (default: imagenet for imagenet/ ones, else cifar100)"
    )
    parser.add_argument("overrides", nargs="*", help="further options as for train.py, e.g. dataset.root=/data")


def run(arguments: argparse.Namespace) -> int:
    """Translate the checkpoint and write the run folder."""
    from mcl.config.compose import compose_train
    from mcl.networks.official import is_baseline, translate
    from mcl.runs.imported import write_imported
    from mcl.training.setup import build_cohort

    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; name a new folder.")
    checkpoint = read(arguments.file)
    baseline = is_baseline(checkpoint[NETWORKS])
    networks = network_choices(arguments.pair, baseline)
    dataset = arguments.dataset or home_of(networks)
    choices = [*networks, f"dataset={dataset}", *arguments.overrides]
    plainly = ["trainer.precision=float32", "trainer.channels_last=false"]
    if dataset == IMAGENET:
        plainly.append("dataset.root=null")  # a checkpoint is read without its images
    config = compose_train([*plainly, *choices])
    classes, preprocessing = described(config)
    cohort = build_cohort(config, len(classes), preprocessing.channels, branched=not baseline)
    learner = {f"cohort.{key}": tensor for key, tensor in translate(checkpoint[NETWORKS], cohort).items()}

    record = {"file": arguments.file.name, "sha256": _sha256(arguments.file), **facts(checkpoint)}
    state = {"classes": list(classes), "preprocessing": preprocessing.as_dict(), "learner": learner}
    write_imported(out, config, state, record)

    print(f"imported {' and '.join(cohort.names)}{'' if baseline else ', with auxiliary branches'}, into {out}")
    for name, value in facts(checkpoint).items():
        print(f"  {name} according to the checkpoint: {value}")
    print(f"  measure them:         python -m mcl evaluate {out}")
    onwards = [choice for choice in choices if choice != _BRANCHES_ALONE] + [f"init_from={out}"]
    print(f"  train on from them:   python train.py {shlex.join(onwards)}")
    return 0


def network_choices(pair: str, baseline: bool) -> list[str]:
    """The overrides of train.py for what a checkpoint holds.

    The loss is the one whose parts are all in the checkpoint: no official checkpoint holds the heads of L-MCL.

    Args:
        pair: our name or an official one.
        baseline: one network without branches; a pair of two alike then names it.

    Raises:
        UserError: a pair of two architectures cannot name one network.
    """
    from mcl.config.build_network import network_names
    from mcl.config.official_names import our_name

    name = our_name(pair) or pair
    if not baseline:
        return [f"pair={name}", _BRANCHES_ALONE]
    if name not in network_names():
        near = did_you_mean(name, network_names())
        raise UserError(f"--pair {pair}: the checkpoint holds one network alone; give the name of that one.{near}")
    return ["pair=single", f"network@pair.first={name}", "loss=independent"]


def home_of(networks: list[str]) -> str:
    """The dataset that networks, as `network_choices` names them, were published for."""
    return IMAGENET if any(f"={IMAGENET}/" in choice for choice in networks) else "cifar100"


def described(config: "DictConfig") -> "tuple[tuple[str, ...], Preprocessing]":
    """Class names and preprocessing of the dataset of a configuration; those of ImageNet without its images, too."""
    from mcl.config.instantiate import build
    from mcl.data.imagenet import ImageNet
    from mcl.data.preprocessing import Preprocessing

    node = config.dataset
    if node._target_.endswith(f".{ImageNet.__name__}") and node.get("root") is None:
        return ImageNet.published_classes(), Preprocessing(
            3, node.image_size, tuple(node.mean or ImageNet.own_mean), tuple(node.std or ImageNet.own_std), node.resize
        )
    dataset = build(node, path="dataset", allow=config.allow_modules)
    return dataset.spec.classes, Preprocessing.of(dataset)


def read(path: Path) -> dict[str, Any]:
    """An official checkpoint, without running code.

    Raises:
        UserError: it is none.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numbers()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever the unpickler or the zip reader came across
        raise UserError(
            f"{path} is no checkpoint of tensors and plain values: it is damaged, or holds objects that could run code"
            f" when read ({type(error).__name__})."
        ) from error
    networks = checkpoint.get(NETWORKS) if isinstance(checkpoint, dict) else None
    if not isinstance(networks, dict) or not all(isinstance(value, torch.Tensor) for value in networks.values()):
        keys = f"; its keys are {', '.join(map(str, checkpoint))}" if isinstance(checkpoint, dict) else ""
        raise UserError(f"{path} is no official checkpoint: those keep their networks under '{NETWORKS}'{keys}.")
    return checkpoint


def _numbers() -> list[Any]:
    """What numpy's numbers are pickled with; accuracies may be such."""
    import numpy as np

    made_by = [np.float64(0).__reduce__()[0], np.dtype]
    return [*made_by, *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64))]


def facts(checkpoint: dict[str, Any]) -> dict[str, float]:
    """The plain numbers that it holds beside the networks, such as ``acc`` and ``epoch``, as they are."""
    found = {}
    for key, value in checkpoint.items():
        number = value.item() if getattr(value, "ndim", None) == 0 else value  # of numpy or torch
        if isinstance(number, int | float):
            found[str(key)] = number
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
