"""A study: one page, ``study.yaml``, with the factors that vary, the options that are fixed, and the comparisons."""

import hashlib
import itertools
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mcl.config.compose import Composed
from mcl.config.conf_folder import data_folder
from mcl.config.grouping import option
from mcl.config.resolvers import leaves_precision_open
from mcl.console import display_path
from mcl.errors import UserError, did_you_mean
from mcl.program import program
from mcl.search.space import WITHOUT_TEST
from mcl.studies.claim import Claim, check_claim
from mcl.studies.compose_runs import RunComposer
from mcl.studies.labels import check_labels, has_labels, label_lists
from mcl.studies.planned_run import PlannedRun
from mcl.studies.skipped import skipped_of
from mcl.studies.study_page import FILE, Page, Published, Search, check_search, choices_of, published_of, read_page


@dataclass(frozen=True)
class Study:
    """A page and the runs that it plans."""

    name: str
    command: str  # ``python sweep.py study=...``, with all overrides
    title: str
    text: str
    factors: dict[str, list[str]]  # factor -> labels, in the order of the page
    baseline: dict[str, str]  # each row is compared with the row that has these labels and is otherwise equal
    published: list[Published]
    runs: list[PlannedRun]
    claim: Claim | None = None
    common: list[str] = field(default_factory=list)  # overrides of every run
    seeds: list[int] = field(default_factory=list)
    ranks: bool = False  # whether the report ranks the rows
    search: Search | None = None
    base: Composed | None = None  # common configuration of the trials of a search
    precision_is_open: bool = False  # whether the device decides the precision of a run, and so its folder
    precisions: tuple[str, ...] = ()  # of the runs, sorted

    @property
    def group(self) -> str:
        """Return the name of its runs for trackers. Studies with other runs have another one, apart from the seeds."""
        options = {} if self.search is None else self.search.options
        rows = sorted({run.settings for run in self.runs})
        text = json.dumps([self.common, rows, options], sort_keys=True)
        return f"{self.name} {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"

    @property
    def teachers(self) -> list[PlannedRun]:
        """Return the runs that are trained before others, which start from their weights."""
        return teachers_of(self.runs)

    @property
    def varied(self) -> list[str]:
        """Return the options that differ between its runs, the seed last."""
        if self.search is not None:
            return list(self.search.options)
        common = set.intersection(*(set(run.overrides) for run in self.runs))
        options = [
            option(each)
            for run in self.runs
            for each in run.overrides
            if each not in common and option(each) not in run.teachers
        ]
        return list(dict.fromkeys([*(each for each in options if each != "seed"), "seed"]))


def studies_folder() -> Path:
    """Return the folder ``experiments`` of the repository."""
    return data_folder() / "experiments"


def study_names() -> list[str]:
    """Return the names of all studies in that folder."""
    return sorted(file.parent.name for file in studies_folder().glob(f"*/{FILE}"))


def find_study(name: str) -> Path:
    """Return the folder of a study: one of ``experiments``, or any that has a ``study.yaml``.

    Raises:
        UserError: it does not exist.
    """
    path = Path(name)
    for folder in (studies_folder() / name, path.parent if path.name == FILE else path):
        if name and (folder / FILE).is_file():
            return folder
    known = study_names()
    file = path if path.name == FILE else path / FILE
    is_path = path.name == FILE or len(path.parts) > 1
    missing = f"there is no {file}" if is_path else f"neither experiments/{file} nor {file} exists"
    raise UserError(f"study={name}: {missing}.{did_you_mean(name, known)} Studies: {', '.join(known)}.")


def load_study(folder: Path, extra: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Study:
    """Read a page and compose its runs. Nothing is built, and no image is read.

    Args:
        folder: has ``study.yaml``.
        extra: further overrides of every run, such as ``["dataset.root=/data", "runs=/big"]``.
        seeds: replace those of the page.

    Returns:
        The study. Its runs are ordered by seed, so that all rows of the table fill evenly.

    Raises:
        UserError: the page or an override is invalid.
    """
    file = folder / FILE
    page = read_page(file)
    factors = {str(name): choices_of(file, str(name), node) for name, node in page.vary.items()}
    labels = {name: list(choices) for name, choices in factors.items()}
    chosen = list(page.seeds if seeds is None else seeds)
    _check_page(file, page, labels, chosen)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"{file}: seeds are {chosen}: give at least one, and none twice.")
    skipped = skipped_of(file, page.skip, labels, page.seeds)
    rows = {
        seed: [row for row in _rows(labels) if not any(each.leaves_out(row, seed) for each in skipped)]
        for seed in dict.fromkeys([*page.seeds, *chosen])
    }
    every_row = list(itertools.chain(*rows.values()))
    if not any(rows[seed] for seed in chosen):
        raise UserError(f"{file}: skip leaves no row.")
    for where, named in {"baseline": page.baseline, **(page.claim.rows if page.claim else {})}.items():
        if not any(named.items() <= row.items() for row in every_row):
            labels_named = ", ".join(f"{factor}: {label}" for factor, label in named.items())
            raise UserError(f"{file}: skip leaves no row for {where}: {{{labels_named}}}.")
    written = [*factors.values(), page.teachers]
    for override in [*page.hold, *(each for choices in written for held in choices.values() for each in held)]:
        if option(override) == "seed":
            raise UserError(f"{file}: {override}: seeds stand under seeds, such as seeds: [0, 1].")
    if page.search is not None and not any(option(each) == option(WITHOUT_TEST) for each in (*page.hold, *extra)):
        page.hold.append(WITHOUT_TEST)
    runs: list[PlannedRun] = []
    base: Composed | None = None
    precision_is_open = False
    precisions = set()
    chosen_rows = {seed: rows[seed] for seed in chosen}
    for run, base in RunComposer(file, page.hold, factors, chosen_rows, page.teachers, extra).compose():
        runs.append(run)
        precision_is_open |= leaves_precision_open(base.config)
        precisions.add(str(OmegaConf.select(base.config, "trainer.precision")))
    name = folder.resolve().name
    where = name if (studies_folder() / name).resolve() == folder.resolve() else display_path(folder)
    words = [f"study={where}", *extra, *([] if seeds is None else [f"seeds=[{','.join(map(str, seeds))}]"])]
    return Study(
        name=name,
        command=f"{program('sweep')} {shlex.join(words)}",
        title=page.title,
        text=page.text.strip(),
        factors=labels,
        baseline=dict(page.baseline),
        claim=page.claim,
        ranks=page.ranks,
        published=list(published_of(file, page, labels)),
        runs=[] if page.search else runs,
        common=[*page.hold, *extra],
        seeds=chosen,
        search=page.search,
        base=base if page.search else None,
        precision_is_open=precision_is_open,
        precisions=tuple(sorted(precisions)),
    )


def _check_page(file: Path, page: Page, labels: Mapping[str, list[str]], seeds: Sequence[int]) -> None:
    """Raise UserError unless the rows that a page names exist, and its search is whole."""
    check_labels(f"{file}: baseline", page.baseline, labels)
    if page.claim is not None:
        check_claim(str(file), page.claim, page.baseline, labels)
    if page.search is not None:
        check_search(file, page, seeds)


def teachers_of(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Return the teachers of some runs, each once."""
    return list({teacher.folder: teacher for run in runs for teacher in run.teachers.values()}.values())


def only(study: Study, wanted: Mapping[str, Any]) -> list[PlannedRun]:
    """Return the runs of some rows.

    Args:
        study: study with its runs.
        wanted: factor -> label, or a list of labels.

    Raises:
        UserError: a factor or label is unknown, no row has these labels, or the study is a search.
    """
    if not isinstance(wanted, Mapping):
        raise UserError(f"only={wanted}: give labels by factor, such as 'only={{loss: lmcl}}'.")
    if wanted and study.search is not None:
        raise UserError("only: a search has no rows to choose from. Leave only out.")
    labels = label_lists(wanted)
    check_labels("only", labels, study.factors)
    runs = [run for run in study.runs if has_labels(run.labels, labels)]
    if study.runs and not runs:
        raise UserError("only: the study skips these combinations of labels, so nothing would run.")
    return runs


def _rows(labels: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    for row in itertools.product(*labels.values()):
        yield dict(zip(labels, row, strict=True))
