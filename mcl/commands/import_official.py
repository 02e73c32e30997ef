"""``python -m mcl import``: a checkpoint of the L-MCL authors' code becomes a run folder of ours."""

import argparse
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from mcl.errors import UserError, did_you_mean

HELP = "Read a checkpoint of the official L-MCL code into a run folder."
EPILOG = """\
examples:

  python -m mcl import lmcl_resnet32_cifar.pth.tar --pair resnet32 --out runs/official/resnet32
  python -m mcl import resnet32_cifar.pth.tar --pair resnet32 --out runs/official/baseline --dataset cifar10

The networks are imported, with their auxiliary branches where the checkpoint has them. Official checkpoints hold no
projection heads, aggregators, matching network or optimizer state, so training goes on from the networks alone, as a
run of its own:  python train.py dataset=cifar100 pair=resnet32 init_from=runs/official/resnet32"""
NETWORKS = "net"  # where official checkpoints keep them
RECORD = "imported.json"
_BRANCHES_ALONE = "loss=deep_supervision"  # needs branches and has no parts of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``import``."""
    parser.add_argument("file", type=Path, metavar="OFFICIAL.pth.tar", help="a baseline or a pair")
    parser.add_argument("--pair", required=True, help="which networks: a choice of pair=, or the official --arch")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run folder to make")
    parser.add_argument("--dataset", default="cifar100", help="what they were trained on (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="further options as for train.py, e.g. dataset.root=/data")


def run(arguments: argparse.Namespace) -> int:
    """Translate the checkpoint and write the run folder."""
    from omegaconf import OmegaConf

    from mcl.config.compose import compose_train
    from mcl.config.stored import plain
    from mcl.data.preprocessing import Preprocessing
    from mcl.files import write_atomically
    from mcl.networks.official import is_baseline, translate
    from mcl.training import checkpoints
    from mcl.training.assemble import assemble

    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; name a new folder.")
    checkpoint = read(arguments.file)
    baseline = is_baseline(checkpoint[NETWORKS])
    choices = [*network_choices(arguments.pair, baseline), f"dataset={arguments.dataset}", *arguments.overrides]
    config = compose_train(["trainer.precision=float32", "trainer.channels_last=false", *choices])
    parts = assemble(config)
    cohort = parts.learner.cohort
    learner = {f"cohort.{key}": tensor for key, tensor in translate(checkpoint[NETWORKS], cohort).items()}

    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(config))))
    record = {"file": arguments.file.name, "sha256": _sha256(arguments.file), **facts(checkpoint)}
    write_atomically(out / RECORD, json.dumps(record, indent=2) + "\n")
    checkpoints.save(
        out / "checkpoints" / checkpoints.LAST,
        {
            "step": 0,
            "config": plain(config),
            "classes": list(parts.dataset.spec.classes),
            "preprocessing": Preprocessing.of(parts.dataset).as_dict(),
            "learner": learner,
        },
    )

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
    from mcl.config.networks import network_names
    from mcl.config.official_names import our_name

    name = our_name(pair) or pair
    if not baseline:
        return [f"pair={name}", _BRANCHES_ALONE]
    if name not in network_names():
        near = did_you_mean(name, network_names())
        raise UserError(f"--pair {pair}: the checkpoint holds one network alone; give the name of that one.{near}")
    return ["pair=single", f"network@pair.first={name}", "loss=independent"]


def read(path: Path) -> dict[str, Any]:
    """An official checkpoint, without running code.

    Raises:
        UserError: it is none.
    """
    import torch

    try:
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


def facts(checkpoint: dict[str, Any]) -> dict[str, float]:
    """The plain numbers that it holds beside the networks, such as ``acc`` and ``epoch``, as they are."""
    return {str(key): value for key, value in checkpoint.items() if isinstance(value, int | float)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
