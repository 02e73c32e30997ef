"""``python -m mcl evaluate``: evaluate every head of a run on a split, with more metrics than during training."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.commands.arguments import add_run, add_weights, check_out

if TYPE_CHECKING:
    from mcl.deploy.saved_run import SavedRun

HELP = "Evaluate a run, a bundle or a release: accuracies, calibration, per-class accuracy, confusion matrices."
EPILOG = """\
The run's own configuration is replayed; overrides on this command line change it:

  python -m mcl evaluate runs/cifar10/resnet32/lmcl/0123456789
  python -m mcl evaluate RUN dataset.root=/elsewhere trainer.device=cpu
  python -m mcl evaluate RUN dataset=folder dataset.root=/other/images dataset.image_size=32 dataset.test_fraction=1
  python -m mcl evaluate BUNDLE.zip --weights best
  python -m mcl evaluate few_images_tuned/lmcl-resnet8 dataset.root=/elsewhere

Classes of another dataset are matched by name. Of images without splits, dataset.test_fraction of each class is
evaluated: 1 for all. Results on other images, with other settings or before the end of training go to their own folder.
Otherwise the accuracies that the run recorded are printed below. Of a release, the networks are first compared with the
logits in its card.

nll: negative log-likelihood in nats; ece: expected calibration error over 15 bins; balanced: mean of the accuracies of
all classes. The ensemble is the mean of the backbones' probabilities."""

OTHER_IMAGES = "These images are not those of the run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    add_run(parser)
    parser.add_argument("overrides", nargs="*", metavar="option=value", help="changes to the run's configuration")
    parser.add_argument("--split", choices=["test", "validation", "train"], default="test", help="default: %(default)s")
    add_weights(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the files; default: RUN/evaluation, or here for a bundle"
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print a table and write the files."""
    from mcl.console import accuracy, display_path, make_console, plain_table, print_table
    from mcl.deploy.card_logits import IMAGES, check_logits
    from mcl.deploy.class_names import describe_match, match_classes
    from mcl.deploy.detailed_evaluation import evaluate_run, evaluation_record, recorded_top1, write_evaluation
    from mcl.deploy.release_folder import ReleaseFolder
    from mcl.deploy.run_source import Folder
    from mcl.deploy.saved_run import SavedRun
    from mcl.errors import UserError
    from mcl.runs.evaluation_record import read_record
    from mcl.runs.identity import choice_name, pair_name
    from mcl.runs.layout import EVALUATION, TEST

    check_out(arguments.out)
    saved = SavedRun(arguments.run, arguments.overrides, arguments.allow, allow_older=arguments.allow_older)
    source = saved.source
    name = source.path.stem if source.path.is_file() else source.path.name
    default = source.path / EVALUATION if isinstance(source, Folder) else Path(f"{name}-{EVALUATION}")
    out = arguments.out or default
    if arguments.out is None:
        check_out(out, option="")
    if arguments.split == "train" and saved.dataset.untrainable:
        raise UserError(f"--split train: {saved.dataset.untrainable}")
    match = describe_match(match_classes(saved.dataset, saved.classes), saved.classes)
    record = evaluation_record(saved, arguments.split, arguments.weights, arguments.overrides)
    folder = out / record.folder_name
    in_run = arguments.out is None and isinstance(source, Folder)
    earlier = None if in_run else read_record(folder)
    if earlier is not None and earlier.run not in ("", record.run):
        raise UserError(f"{folder} holds the evaluation of another run, {earlier.run}. Give another folder with --out.")
    console = make_console()
    if isinstance(source, ReleaseFolder):
        difference = check_logits(saved, source.card)
        console.print(f"logits of the {IMAGES} images of the card: within {difference:.1e}", style="dim")
    part = _describe_part(saved, other_images=record.other_images) if arguments.split == "test" else ""
    for note in filter(None, [OTHER_IMAGES if record.other_images else "", match, part]):
        console.print(note, style="yellow")
    scores = evaluate_run(saved, arguments.split, arguments.weights)
    method = choice_name(None, saved.config.loss)
    about = f"{pair_name(saved.names)} with {method} on {saved.dataset.spec.name}"
    write_evaluation(scores, saved.classes, folder, record, about)

    images = next(iter(scores.values())).images
    table = plain_table(f"{arguments.split}, {images:,} images", numbers=("top-1", "top-5", "balanced", "nll", "ece"))
    for head, score in scores.items():
        result = score.result()
        percents = [accuracy(result[measure], 2) for measure in ("top1", "top5", "balanced_accuracy")]
        table.add_row(head, *percents, f"{result['nll']:.4f}", accuracy(result["ece"], 2))
    print_table(console, table)
    if record.folder_name == TEST and (recorded := recorded_top1(saved)):
        differences = [
            abs(recorded[name] - score.result()["top1"]) for name, score in scores.items() if name in recorded
        ]
        shown = ", ".join(f"{name} {accuracy(value, 2)}" for name, value in recorded.items())
        console.print(f"\nrecorded by the run: {shown}; within {max(differences):.2f} points", soft_wrap=True)
    console.print(
        f"\n{', '.join(f'{key} {name}' for key, name in zip(saved.keys, saved.names, strict=True))}", style="dim"
    )
    console.print(f"per class, confusion matrices: {display_path(folder)}", style="dim", soft_wrap=True)
    return 0


def _describe_part(saved: "SavedRun", *, other_images: bool) -> str:
    """Describe which part of the images is the test split if the images came without one; else return an empty text."""
    dataset = saved.dataset
    if dataset.untrainable and not other_images and saved.imported is None:
        return "All images are evaluated, also those that the run was trained on."
    if dataset.drawn_fraction is None:
        return ""
    part = f"The test split is a part of the images, drawn at random: {dataset.drawn_fraction:g} of each class."
    return f"{part} dataset.test_fraction=1 evaluates all." if other_images else part
