"""Measure what pruning saves: the same searches with and without it, and the training steps that each took.

    python experiments/search_pruning/measure.py

Three searches of the same trials: all trained to the end, and with ``asha`` at three settings.
Started again, it continues where it was stopped. It writes RESULTS.md, trials.csv and pruning.png beside itself.
"""

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import optuna

from mcl.drawing import new_figure
from mcl.reports.figures import files, style
from mcl.reports.markdown import table
from mcl.runs.reading import find_runs, read_run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = Path("runs/search_pruning")
SEEDS = (0, 1, 2)
TRIALS = 24
PRUNERS = {  # epochs before the first decision, and one trial in so many goes on at each decision
    "none": None,
    "asha, a half from epoch 3": (3, 2),
    "asha, a third from epoch 3": (3, 3),
    "asha, a quarter at epoch 7": (7, 4),
}
NAMES = dict(zip(PRUNERS, ("none", "half", "third", "quarter"), strict=True))  # of their folders
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
LINES = dict(zip(PRUNERS, (("#0072b2", "--"), ("#bf5200", "-"), ("#6f6f6f", ":"), ("#00785a", "-.")), strict=True))
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
        f"hydra.sweeper.n_trials={TRIALS}",
        "hydra/sweeper/sampler=random",  # proposes the same trials, whatever becomes of them
        f"hydra.sweeper.sampler.seed={seed}",
        "hydra.sweeper.study_name=search",
    ]
    if (decisions := PRUNERS[pruner]) is not None:
        first, reduction = decisions
        search += ["hydra/sweeper/pruner=asha", f"hydra.sweeper.pruner.min_resource={first}"]
        search += [f"hydra.sweeper.pruner.reduction_factor={reduction}"]
    return ["-m", "hydra/sweeper=optuna", *search, *SETTINGS, f"runs={folder(pruner, seed)}", *RANGES]


def folder(pruner: str, seed: int) -> Path:
    """Return the folder of the runs of one search: the searches share none."""
    return RUNS / f"{NAMES[pruner]}-{seed}"


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
        for trial in study.trials
    ]


def best_so_far(trials: list[Trial]) -> list[tuple[int, float]]:
    """Return the steps taken and the best top-1 of a finished trial after each trial."""
    points, steps, best = [], 0, 0.0
    for trial in trials:
        steps += trial.steps
        best = max(best, trial.top1) if trial.state == "complete" else best
        points.append((steps, best))
    return points


def total(trials: list[Trial]) -> tuple[int, float]:
    """Return the steps of all trials, and the best top-1 of a finished one."""
    return best_so_far(trials)[-1]


def page(searches: dict[tuple[str, int], list[Trial]]) -> str:
    """Return RESULTS.md."""
    rows, sentences = [], []
    for pruner in PRUNERS:
        equal, shares = 0, []
        for seed in SEEDS:
            all_steps, best_of_all = total(searches["none", seed])
            steps, best = total(searches[pruner, seed])
            pruned = sum(trial.state == "pruned" for trial in searches[pruner, seed])
            equal += best >= best_of_all
            shares.append(steps / all_steps)
            row = [pruner, str(seed), str(pruned), f"{steps:,}", f"{steps / all_steps:.0%}", f"{best:.2f}"]
            rows.append([*row, f"{best - best_of_all:+.2f}"])
        if pruner != "none":
            sentences.append(
                f"- `{pruner}`: the best trial is as good as without pruning in {equal} of {len(SEEDS)} searches, with"
                f" {min(shares):.0%} to {max(shares):.0%} of the training steps."
            )
    heads = ["pruner", "sampler's seed", "pruned", "steps", "of those of none", "best, %", "difference"]
    lines = [
        f"# {TITLE}",
        "",
        *sentences,
        "",
        "Two ResNet-8 teach each other (`loss=dml`) on 20 images of each digit of the bundled scans; half of the"
        f" training images are held out to compare the {TRIALS} trials of a search, which have {EPOCHS} epochs."
        " A search varies the learning rate, the weight decay and the momentum at random, so that all pruners see the"
        " same trials. `asha` decides at some epochs which part of the trials goes on: from epoch 3 on, at 3, 6, 12 and"
        " 24 (a half) or at 3 and 9 (a third); or once, at epoch 7 (a quarter), which was added when the results of the"
        " first two were known.",
        "",
        *table(heads, rows, words=1),
        "",
        "Best: the largest mean top-1 of the two networks on the validation split among trials that trained to their"
        " end. Steps: of all trials together, pruned ones included.",
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
        "[trials.csv](trials.csv) has every trial. One of the searches:",
        "",
        "```sh",
        "python train.py " + " ".join(f"'{word}'" if "(" in word else word for word in command([*PRUNERS][-1], 0)),
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
            color, dash = LINES[pruner]
            axes.step(steps, best, dash, where="post", color=color, label=label)
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
            log = RUNS / f"{NAMES[pruner]}-{seed}.log"
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
