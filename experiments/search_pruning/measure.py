"""Measure what pruning saves: the same searches with and without it, and the training steps that each took.

    python experiments/search_pruning/measure.py

Three searches, whose samplers have different seeds, each with all trials trained to the end and with ``asha``. Started
again, it continues where it was stopped. It writes RESULTS.md, trials.csv and pruning.png beside itself.
"""

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import optuna

from mcl.reports.figures import files, new_figure, style
from mcl.reports.markdown import table
from mcl.runs.reading import find_runs, read_run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = Path("runs/search_pruning")
SEEDS = (0, 1, 2)
PRUNERS = ("none", "asha")
TRIALS = {"none": 24, "asha": 48}  # pruned trials are short, so the same steps hold more of them
EPOCHS = 27
SETTINGS = [
    *("dataset=digits", "dataset.limit=20", "dataset.validation=0.5", "pair=resnet8", "loss=dml"),
    *(f"trainer.epochs={EPOCHS}", "trainer.batch_size=50", "trainer.device=cpu", "tracking=none"),
]
RANGES = [
    "optimizer.lr=tag(log,interval(0.001,3.0))",
    "optimizer.weight_decay=tag(log,interval(0.00001,0.1))",
    "optimizer.momentum=interval(0.1,0.99)",
]
TITLE = "What pruning saves in a search"


@dataclass(frozen=True)
class Trial:
    """One trial of a search: the steps that it trained, and the validation top-1 (%) that it ended with."""

    pruner: str
    seed: int
    number: int
    state: str
    steps: int
    top1: float


def command(pruner: str, seed: int) -> list[str]:
    """Return the arguments of ``python train.py`` for one search."""
    search = [
        f"hydra.sweeper.n_trials={TRIALS[pruner]}",
        f"hydra.sweeper.sampler.seed={seed}",
        "hydra.sweeper.study_name=search",
    ]
    if pruner != "none":
        search += [f"hydra/sweeper/pruner={pruner}", "hydra.sweeper.pruner.min_resource=3"]
    return ["-m", "hydra/sweeper=optuna", *search, *SETTINGS, f"runs={folder(pruner, seed)}", *RANGES]


def folder(pruner: str, seed: int) -> Path:
    """Return the folder of the runs of one search: the searches share none."""
    return RUNS / f"{pruner}-{seed}"


def trials_of(pruner: str, seed: int) -> list[Trial]:
    """Return the trials of a search, in order."""
    place = folder(pruner, seed)
    backend = optuna.storages.journal.JournalFileBackend(str(place / "searches/search/trials.journal"))
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    steps = {}
    for run in map(read_run, find_runs(place)):
        steps[run.config["optimizer"]["lr"]] = run.summary.get("steps", run.evaluated_step)
    return [
        Trial(
            pruner, seed, trial.number, trial.state.name.lower(), steps[trial.params["optimizer.lr"]], trial.value or 0
        )
        for trial in study.trials[: TRIALS[pruner]]
    ]


def best_so_far(trials: list[Trial]) -> list[tuple[int, float]]:
    """Return the steps taken and the best top-1 of a finished trial after each trial."""
    points, steps, best = [], 0, 0.0
    for trial in trials:
        steps += trial.steps
        best = max(best, trial.top1) if trial.state == "complete" else best
        points.append((steps, best))
    return points


def best_within(trials: list[Trial], steps: float) -> tuple[int, float]:
    """Return how many trials fit into a number of steps, and the best top-1 of a finished one among them."""
    points = [best for taken, best in best_so_far(trials) if taken <= steps]
    return len(points), points[-1]


def page(searches: dict[tuple[str, int], list[Trial]]) -> str:
    """Return RESULTS.md."""
    rows, equal_trials, reached_shares = [], [], []
    in_half = 0
    for seed in SEEDS:
        whole, pruned = searches["none", seed], searches["asha", seed]
        steps, best = best_so_far(whole)[-1]
        count, at_half = best_within(pruned, steps / 2)
        few_steps, few_best = best_so_far(pruned)[len(whole) - 1]
        reached = next((taken for taken, reached in best_so_far(pruned) if reached >= best), None)
        in_half += reached is not None and reached <= steps / 2
        equal_trials.append(f"{few_best - best:+.2f} points with {few_steps / steps:.0%} of the steps")
        reached_shares.append("never" if reached is None else f"{reached / steps:.0%}")
        half = f"{at_half:.2f} ({count} trials)"
        rows.append([str(seed), f"{best:.2f}", f"{steps:,}", half, "-" if reached is None else f"{reached:,}"])
    heads = [
        "sampler's seed",
        "best, none",
        "its steps",
        "best, asha, half the steps",
        "steps of asha to the best of none",
    ]
    lines = [
        f"# {TITLE}",
        "",
        "Within half of the training steps, `asha` found a trial as good as the best without pruning in"
        f" {in_half} of {len(SEEDS)} searches.",
        "",
        "Two ResNet-8 teach each other (`loss=dml`) on 20 images of each digit of the bundled scans; half of the"
        f" training images are held out to compare the trials, which have {EPOCHS} epochs. The search varies the"
        " learning rate, the weight decay and the momentum. With `hydra/sweeper/pruner=none` it has"
        f" {TRIALS['none']} trials. With `asha`, which decides after 3 and 9 epochs which third goes on, it has"
        f" {TRIALS['asha']}, because pruned ones are short. The samplers have the same seeds.",
        "",
        *table(heads, rows, words=0),
        "",
        "Best: the largest mean top-1 of the two networks on the validation split, in %, among trials that trained to"
        " their end. Steps: of all trials together, pruned ones included. The last column has the steps after which the"
        " search with `asha` had found a trial at least as good as the best of the whole search without pruning.",
        "",
        f"As a share of the steps of the search without pruning: {', '.join(reached_shares)}. With as many trials as"
        f" that search, and no more, `asha` differs by {'; '.join(equal_trials)}: the same number of trials is worth"
        " less if some are pruned, and costs less.",
        "",
        "![Best validation top-1 so far against training steps, for each search.](pruning.png)",
        "",
        "The best of a search is the greatest of noisy numbers: without pruning, more trials train to their end, so the"
        " greatest of them gains more by luck. Three searches of one small problem say little about others.",
        "",
        "## How this was made",
        "",
        "```bash",
        "OMP_NUM_THREADS=1 python experiments/search_pruning/measure.py",
        "```",
        "",
        "[trials.csv](trials.csv) has every trial. One of the six searches:",
        "",
        "```sh",
        "python train.py " + " ".join(f"'{word}'" if "(" in word else word for word in command("asha", 0)),
        "```",
    ]
    return "\n".join(lines) + "\n"


def picture(searches: dict[tuple[str, int], list[Trial]]) -> bytes:
    """Draw the best top-1 so far against the steps taken."""
    with style():
        figure = new_figure(6.5, 3.6)
        axes = figure.subplots()
        for (pruner, seed), trials in searches.items():
            steps, best = zip(*best_so_far(trials), strict=True)
            label = f"pruner {pruner}" if seed == SEEDS[0] else None
            colour, dash = ("#bf5200", "-") if pruner == "asha" else ("#0072b2", "--")
            axes.step(steps, best, dash, where="post", color=colour, label=label)
        lowest = min(best_so_far(trials)[8][1] for trials in searches.values())
        axes.set_ylim(bottom=lowest - 2)
        axes.set_xlabel("training steps of all trials")
        axes.set_ylabel("best validation top-1 so far, %")
        axes.legend()
        return files(figure, ["png"])["png"]


def main() -> None:
    """Run the searches that are left, and write the results."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for seed in SEEDS:
        for pruner in PRUNERS:
            print(f"search with pruner {pruner}, seed {seed}", flush=True)
            log = RUNS / f"{pruner}-{seed}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "a") as file:
                done = subprocess.run(
                    [sys.executable, str(ROOT / "train.py"), *command(pruner, seed)], stdout=file, stderr=file
                )
            if done.returncode:
                sys.exit(f"the search failed; see {log}")
    searches = {(pruner, seed): trials_of(pruner, seed) for seed in SEEDS for pruner in PRUNERS}
    with open(HERE / "trials.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Trial.__dataclass_fields__)
        writer.writerows(list(vars(trial).values()) for trials in searches.values() for trial in trials)
    (HERE / "pruning.png").write_bytes(picture(searches))
    (HERE / "RESULTS.md").write_text(page(searches))
    print(page(searches))


if __name__ == "__main__":
    main()
