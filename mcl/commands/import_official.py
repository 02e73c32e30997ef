"""``python -m mcl import``: convert a checkpoint of the L-MCL authors' code into a run folder."""

import argparse
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl.errors import UserError, did_you_mean
from mcl.program import program

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mcl.data.preprocessing import Preprocessing

HELP = "Convert a checkpoint of the official L-MCL code into a run folder."
EPILOG = """\
examples:

  python -m mcl import lmcl_resnet32_cifar.pth.tar --pair resnet32 --out runs/official/resnet32
  python -m mcl import resnet32_cifar.pth.tar --pair resnet32 --out runs/official/baseline --dataset cifar10

The networks are imported, with their auxiliary branches if the checkpoint has them. Official checkpoints hold no
projection heads, aggregators, matching network or optimizer state, so training continues from the networks alone, as
a new run:  python train.py dataset=cifar100 pair=resnet32 init_from=runs/official/resnet32"""
NETWORKS = "net"  # key of the networks in official checkpoints
IMAGENET = "imagenet"
_BRANCHES_ALONE = "loss=deep_supervision"  # needs branches and has no parts of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    parser.add_argument("file", type=Path, metavar="OFFICIAL.pth.tar", help="a baseline or a pair")
    parser.add_argument("--pair", required=True, help="the networks: a choice of pair=, or the official --arch")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder to create")
    parser.add_argument(
        "--dataset", help="dataset they were trained on (default: imagenet for imagenet/ networks, else cifar100)"
    )
    parser.add_argument("overrides", nargs="*", help="more options of train.py, such as dataset.root=/data")


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
    dataset = arguments.dataset or published_dataset(networks)
    choices = [*networks, f"dataset={dataset}", *arguments.overrides]
    defaults = ["trainer.precision=float32", "trainer.channels_last=false"]
    if dataset == IMAGENET:
        defaults.append("dataset.root=null")  # a checkpoint is read without its images
    config = compose_train([*defaults, *choices])
    classes, preprocessing = classes_and_preprocessing(config)
    cohort = build_cohort(config, len(classes), preprocessing.channels, branched=not baseline)
    learner = {f"cohort.{key}": tensor for key, tensor in translate(checkpoint[NETWORKS], cohort).items()}

    record = {"file": arguments.file.name, "sha256": _sha256(arguments.file), **facts(checkpoint)}
    state = {"classes": list(classes), "preprocessing": preprocessing.as_dict(), "learner": learner}
    write_imported(out, config, state, record)

    print(f"imported {' and '.join(cohort.names)}{'' if baseline else ', with auxiliary branches'}, into {out}")
    for name, value in facts(checkpoint).items():
        print(f"  {name} according to the checkpoint: {value}")
    print(f"  evaluate:        python -m mcl evaluate {out}")
    overrides = [choice for choice in choices if choice != _BRANCHES_ALONE] + [f"init_from={out}"]
    print(f"  train further:   {program('train')} {shlex.join(overrides)}")
    return 0


def network_choices(pair: str, baseline: bool) -> list[str]:
    """Return the overrides of train.py for the networks of a checkpoint.

    The loss is one whose parts are all in the checkpoint: official checkpoints do not hold the heads of L-MCL.

    Args:
        pair: our name or an official one.
        baseline: one network without branches; a pair of two equal networks then names it.

    Raises:
        UserError: a pair of two architectures was given for one network.
    """
    from mcl.config.build_network import network_names
    from mcl.config.official_names import our_name

    name = our_name(pair) or pair
    if not baseline:
        return [f"pair={name}", _BRANCHES_ALONE]
    if name not in network_names():
        near = did_you_mean(name, network_names())
        raise UserError(f"--pair {pair}: the checkpoint holds one network; give its name.{near}")
    return ["pair=single", f"network@pair.first={name}", "loss=independent"]


def published_dataset(networks: list[str]) -> str:
    """Return the dataset that networks, as named by `network_choices`, were published for."""
    return IMAGENET if any(f"={IMAGENET}/" in choice for choice in networks) else "cifar100"


def classes_and_preprocessing(config: "DictConfig") -> "tuple[tuple[str, ...], Preprocessing]":
    """Return class names and preprocessing of a configuration's dataset; ImageNet does not need its images."""
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
    """Read an official checkpoint without running code.

    Raises:
        UserError: it is not an official checkpoint.
    """
    import torch

    from mcl.untrusted.tensors import load_state_file
    from mcl.untrusted.text import shorten

    checkpoint: Any = load_state_file(path, allowed=_numbers())
    networks = checkpoint.get(NETWORKS) if isinstance(checkpoint, dict) else None
    if not isinstance(networks, dict) or not all(isinstance(value, torch.Tensor) for value in networks.values()):
        keys = f"; its keys are {shorten(', '.join(map(str, checkpoint)))}" if isinstance(checkpoint, dict) else ""
        raise UserError(f"{path} is not an official checkpoint: those keep their networks under '{NETWORKS}'{keys}.")
    return checkpoint


def _numbers() -> list[Any]:
    """Return what is needed to unpickle numpy's numbers: accuracies may be stored as such."""
    import numpy as np

    constructors = [np.float64(0).__reduce__()[0], np.dtype]
    return [*constructors, *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64))]


def facts(checkpoint: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that a checkpoint holds beside the networks, such as ``acc`` and ``epoch``."""
    from mcl.untrusted.text import printable

    numbers = {}
    for key, value in checkpoint.items():
        number = value.item() if getattr(value, "ndim", None) == 0 else value  # from numpy or torch
        if isinstance(number, int | float):
            numbers[printable(key)] = number
    return numbers


def _sha256(path: Path) -> str:
    from mcl.untrusted.limits import MAX_NETWORK
    from mcl.untrusted.regular_files import read_bytes

    return hashlib.sha256(read_bytes(path, MAX_NETWORK)).hexdigest()
