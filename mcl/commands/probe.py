"""``python -m mcl probe``: how good the frozen features of a run's networks are, on any data set."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.commands.arguments import add_run, add_weights, check_out, require_at_least
from mcl.errors import UserError

if TYPE_CHECKING:
    from mcl.probing import Subject
    from mcl.runs.probe_record import Measure, ProbeRecord

HELP = "How good the frozen features are, also for other data sets: linear probe, nearest neighbors, few images."
EPILOG = """\
The networks stay as they are: weights and batch statistics are frozen, and their features are taken once. Classifiers
on these features are fitted to the training images of a data set and evaluated once on its test images:

  python -m mcl probe RUN --dataset digits
  python -m mcl probe RUN --dataset folder dataset.root=/other/images
  python -m mcl probe RUN/export/first-resnet32.safetensors --dataset cifar10 trainer.device=cpu

Without --dataset, the images are the run's own. Others may have other classes. They are scaled to the size that the
networks were trained on, and normalized as the run's training images were.

linear: logistic regression (L-BFGS) on standardized features. Its weight decay is chosen on validation images: those
of the data set, or a fifth of its training images. n-NN: majority of the n nearest training images by cosine.
n-shot: nearest class mean of n images a class, mean over draws. python -m mcl report shows the results of finished
runs beside their accuracies."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``probe``."""
    add_run(parser, metavar="RUN_OR_FILE", help="run folder, bundle, release or exported file (not ONNX)")
    parser.add_argument("overrides", nargs="*", metavar="option=value", help="changes to the run's configuration")
    parser.add_argument("--dataset", metavar="NAME", help="data set to probe, as dataset=NAME; default: the run's own")
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        help="of a run: number (from 0), key or name; repeat for more; default: all, or the leader",
    )
    add_weights(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of validation part and draws; default: %(default)s")
    parser.add_argument("--draws", type=int, default=20, help="draws of few images; default: %(default)s")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the file; default: RUN/evaluation, or here for a file"
    )


def run(arguments: argparse.Namespace) -> int:
    """Probe, print a table and write the record."""
    from mcl.console import announced, display_path, make_console
    from mcl.deploy.run_source import Folder
    from mcl.probing import Options, open_subject, probe, probe_record
    from mcl.runs.layout import EVALUATION, PROBE

    check_out(arguments.out)
    require_at_least(1, "--draws", arguments.draws)
    require_at_least(0, "--seed", arguments.seed)
    overrides = [*([f"dataset={arguments.dataset}"] if arguments.dataset else []), *arguments.overrides]
    subject = open_subject(
        arguments.run,
        overrides,
        networks=arguments.network,
        weights=arguments.weights,
        allow=arguments.allow,
        allow_older=arguments.allow_older,
    )
    source = subject.run.source if subject.run is not None else None
    default = source.path / EVALUATION if isinstance(source, Folder) else Path(f"{arguments.run.stem}-{EVALUATION}")
    out = arguments.out or default
    if arguments.out is None:
        check_out(out, option="")
    options = Options(arguments.seed, arguments.draws)
    record = probe_record(subject, options, weights=arguments.weights, overrides=overrides)
    folder = out / record.folder_name
    in_run = arguments.out is None and isinstance(source, Folder)
    earlier = _earlier(folder / PROBE, in_run=in_run)
    if earlier is not None and not in_run and earlier.run not in ("", record.run):
        raise UserError(
            f"{folder} holds the probe of another run or file, {earlier.run}. Give another folder with --out."
        )
    with announced(f"taking the features of {subject.dataset.spec.name}"):
        record = replace(record, **vars(probe(subject, options)))
    is_same = earlier is not None and (earlier.run, earlier.code) == (record.run, record.code)
    kept = earlier.networks if earlier is not None and is_same else {}
    replace(record, networks={**kept, **record.networks}).write(folder)
    _print(record, subject, arguments.draws)
    make_console().print(f"\n{display_path(folder)}", style="dim", soft_wrap=True)
    return 0


def _earlier(file: Path, *, in_run: bool) -> "ProbeRecord | None":
    """Return the record that is here already; None if there is none, or a damaged one in the run's own folder."""
    from mcl.runs.probe_record import read_probe

    if not file.is_file():
        return None
    try:
        return read_probe(file)
    except UserError:
        if in_run:
            return None
        raise


def _print(record: "ProbeRecord", subject: "Subject", draws: int) -> None:
    from mcl.console import make_console, plain_table, print_table
    from mcl.probing.linear import is_extreme

    console = make_console()
    networks = record.networks
    title = f"{record.dataset}: test, {record.test:,} images, {record.classes} classes"
    table = plain_table(title, numbers=[f"{key} {network.name}" for key, network in networks.items()])
    for name in next(iter(networks.values())).measures:
        table.add_row(name, *(_cell(network.measures[name]) for network in networks.values()))
    print_table(console, table)
    chosen = ", ".join(f"{key} {network.weight_decay:g}" for key, network in record.networks.items())
    console.print(
        f"\n{record.train:,} training images, {record.validation:,} of them to choose the weight decay: {chosen}",
        style="dim",
        soft_wrap=True,
    )
    if extreme := [key for key, network in record.networks.items() if is_extreme(network.weight_decay)]:
        console.print(f"{', '.join(extreme)}: this is the strongest or the weakest of those tried", style="dim")
    size = " x ".join(map(str, subject.preprocessing.image_shape))
    console.print(
        f"percent, and the 95 % interval: over test images (Wilson); of n-shot over {draws} draws (Student)",
        style="dim",
        soft_wrap=True,
    )
    console.print(
        f"images of {size}, normalized as the run's training images",
        style="dim",
        soft_wrap=True,
    )


def _cell(measure: "Measure") -> str:
    """Return a measure with its interval: ``"94.71 (91.88 to 96.59)"``."""
    interval = "" if measure.interval is None else f" ({measure.interval.low:.2f} to {measure.interval.high:.2f})"
    return f"{measure.top1:.2f}{interval}"
