"""``python -m mcl evaluate``: every head of a trained run on a split, with more measures than training takes."""

import argparse
from pathlib import Path

HELP = "Evaluate a run or a bundle: accuracies, calibration, per-class accuracy, confusion matrices."
EPILOG = """\
The run's own configuration is replayed; options typed here come on top of it:

  python -m mcl evaluate runs/cifar10/resnet32/lmcl/0123456789
  python -m mcl evaluate RUN dataset.root=/elsewhere trainer.device=cpu
  python -m mcl evaluate RUN dataset=folder dataset.root=/other/images dataset.image_size=32
  python -m mcl evaluate BUNDLE.zip --weights best

nll: negative log-likelihood in nats; ece: expected calibration error over 15 bins; balanced: mean of the accuracies of
all classes. The ensemble is the mean of the backbones' probabilities."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``evaluate``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder or bundle")
    parser.add_argument("overrides", nargs="*", metavar="option=value", help="changes to the run's configuration")
    parser.add_argument("--split", choices=["test", "validation", "train"], default="test", help="default: %(default)s")
    parser.add_argument(
        "--weights", choices=["last", "best"], default="last", help="as training left them, or of the best epoch"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where files go; default: RUN/evaluation, of a bundle here"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that RUN may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print a table and write the files."""
    from rich.table import Table

    from mcl.deploy.assessment import assess, write_assessment
    from mcl.deploy.saved_run import SavedRun
    from mcl.tracking.tables import accuracy, make_console, shown

    saved = SavedRun(arguments.run, arguments.overrides, arguments.allow)
    scores = assess(saved, arguments.split, arguments.weights)
    split = arguments.split + ("-best" if arguments.weights == "best" else "")
    default = arguments.run / "evaluation" if arguments.run.is_dir() else Path(f"{arguments.run.stem}-evaluation")
    folder = (arguments.out or default) / split
    write_assessment(scores, saved.classes, folder)

    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(f"{arguments.split}, {next(iter(scores.values())).images:,} images", no_wrap=True)
    for header in ("top-1", "top-5", "balanced", "nll", "ece"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, of in scores.items():
        found = of.result()
        percents = [accuracy(found[measure], 2) for measure in ("top1", "top5", "balanced_accuracy")]
        table.add_row(name, *percents, f"{found['nll']:.4f}", accuracy(found["ece"], 2))
    console = make_console()
    console.print(table)
    if saved.checkpoint.get("data", fingerprint := saved.dataset.fingerprint()) != fingerprint:
        console.print("\nThese are other images than those of the run.", style="yellow")
    console.print(
        f"\n{', '.join(f'{key} {name}' for key, name in zip(saved.keys, saved.names, strict=True))}", style="dim"
    )
    console.print(f"per class, confusion matrices: {shown(folder)}", style="dim", soft_wrap=True)
    return 0
