"""A study: one page, ``study.yaml``, with the factors that vary, the options that are fixed, and the comparisons."""

import hashlib
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mcl.config import catalog
from mcl.config.compose import Composed, composing
from mcl.config.conf_folder import data_folder
from mcl.config.explain import explain
from mcl.config.grouping import option
from mcl.config.loader import Progress
from mcl.config.resolvers import leaves_precision_open
from mcl.console import display_path
from mcl.errors import UserError, did_you_mean, unknown
from mcl.program import program
from mcl.runs.reading import number
from mcl.runs.renames import current_overrides
from mcl.search.space import WITHOUT_TEST
from mcl.studies.claim import Claim, check_claim
from mcl.studies.labels import check_labels

FILE = "study.yaml"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    labels: dict[str, str]  # factor -> label, without the seed
    seed: int
    overrides: list[str]  # arguments of ``python train.py``
    folder: Path  # its run folder


@dataclass(frozen=True)
class Published:
    """One accuracy from a paper, in percent."""

    labels: dict[str, str]  # labels of the rows it is compared with
    network: str
    top1: float
    deviation: float | None  # standard deviation over runs
    runs: int | None
    source: str


@dataclass
class Search:
    """A search, in place of a grid, for the best settings on the validation split."""

    options: dict[str, str] = field(default_factory=dict)  # option -> range, such as ``interval(0.1, 10)``
    trials: int = 40
    at_once: int = 4  # trials at the same time, at most; affects the proposals, so it cannot depend on the machine
    sampler: str = "tpe"  # a file of conf/hydra/sweeper/sampler
    pruner: str = "none"  # a file of conf/hydra/sweeper/pruner
    warm_start: Any = None  # folder of finished runs that count as trials, or several

    @property
    def ranges(self) -> list[str]:
        """Return the overrides that vary, such as ``optimizer.lr=interval(0.1, 10)``."""
        return [f"{name}={where}" for name, where in self.options.items()]

    @property
    def settings(self) -> list[str]:
        """Return the overrides of Hydra's sweeper."""
        places = [self.warm_start] if isinstance(self.warm_start, str) else self.warm_start or []
        return [
            "hydra/sweeper=optuna",
            f"hydra/sweeper/sampler={self.sampler}",
            f"hydra/sweeper/pruner={self.pruner}",
            f"hydra.sweeper.n_trials={self.trials}",
            f"hydra.sweeper.n_jobs={self.at_once}",
            *([f"hydra.sweeper.warm_start=[{','.join(map(str, places))}]"] if places else []),
        ]


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
        rows = sorted({tuple(each for each in run.overrides if option(each) != "seed") for run in self.runs})
        text = json.dumps([self.common, rows, options], sort_keys=True)
        return f"{self.name} {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"

    @property
    def varied(self) -> list[str]:
        """Return the options that differ between its runs, the seed last."""
        if self.search is not None:
            return list(self.search.options)
        common = set.intersection(*(set(run.overrides) for run in self.runs))
        options = [option(each) for run in self.runs for each in run.overrides if each not in common]
        return list(dict.fromkeys([*(each for each in options if each != "seed"), "seed"]))


@dataclass
class _PublishedTable:
    source: str = MISSING
    runs: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Page:
    """The schema of ``study.yaml``."""

    title: str = MISSING
    text: str = ""
    hold: list[str] = field(default_factory=list)
    vary: dict[str, Any] = field(default_factory=dict)
    skip: list[dict[str, str]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    baseline: dict[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    ranks: bool = False
    published: list[_PublishedTable] = field(default_factory=list)
    search: Search | None = None


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
    page = _read(file)
    factors = {str(name): _choices(file, str(name), node) for name, node in page.vary.items()}
    labels = {name: list(choices) for name, choices in factors.items()}
    check_labels(f"{file}: baseline", page.baseline, labels)
    if page.claim is not None:
        check_claim(str(file), page.claim, page.baseline, labels)
    for skipped in page.skip:
        check_labels(f"{file}: skip", skipped, labels)
    chosen = list(page.seeds if seeds is None else seeds)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"{file}: seeds are {chosen}: give at least one, and none twice.")
    rows = [row for row in _rows(factors) if not any(skipped.items() <= row.items() for skipped in page.skip)]
    if not rows:
        raise UserError(f"{file}: skip leaves no row.")
    for override in [*page.hold, *(each for choices in factors.values() for held in choices.values() for each in held)]:
        if override.lstrip("+").partition("=")[0] == "seed":
            raise UserError(f"{file}: {override}: seeds stand under seeds, such as seeds: [0, 1].")
    if page.search is not None:
        _check_search(file, page)
        if not any(option(each) == option(WITHOUT_TEST) for each in (*page.hold, *extra)):
            page.hold.append(WITHOUT_TEST)
    runs: list[PlannedRun] = []
    base: Composed | None = None
    precision_is_open = False
    precisions = set()
    for run, base in _compose_runs(file, page.hold, factors, rows, chosen, extra):
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
        published=list(_published(file, page, labels)),
        runs=[] if page.search else runs,
        common=[*page.hold, *extra],
        seeds=chosen,
        search=page.search,
        base=base if page.search else None,
        precision_is_open=precision_is_open,
        precisions=tuple(sorted(precisions)),
    )


def _compose_runs(
    file: Path,
    hold: Sequence[str],
    factors: Mapping[str, Mapping[str, list[str]]],
    rows: Sequence[dict[str, str]],
    seeds: Sequence[int],
    extra: Sequence[str],
) -> Iterator[tuple[PlannedRun, Composed]]:
    """Yield every run of a page with its configuration, seed by seed; raises as `load_study` does."""
    runs: dict[Path, PlannedRun] = {}
    progress = Progress(len(seeds) * len(rows))
    with composing() as compose:
        for seed, row in itertools.product(seeds, rows):
            varied = [override for name, label in row.items() for override in factors[name][label]]
            overrides = current_overrides([*hold, *varied, f"seed={seed}", *extra])
            try:
                composed = compose(overrides)
            except UserError as error:
                name = ", ".join(row.values()) or file.parent.name
                raise UserError(f"{file}, {name}: {error}") from error
            if (same := runs.get(composed.folder)) is not None:
                raise UserError(
                    f"{file}: {', '.join(same.labels.values())} and {', '.join(row.values())} give the same run: two"
                    " labels mean the same, or an override, fixed or on the command line, replaces what varies."
                )
            runs[composed.folder] = PlannedRun(row, seed, overrides, composed.folder)
            yield runs[composed.folder], composed
            progress.advance()


def only(study: Study, wanted: Mapping[str, Any]) -> list[PlannedRun]:
    """Return the runs of some rows.

    Args:
        study: study with its runs.
        wanted: factor -> label, or a list of labels.

    Raises:
        UserError: a factor or label is unknown.
    """
    if not isinstance(wanted, Mapping):
        raise UserError(f"only={wanted}: give labels by factor, such as 'only={{loss: lmcl}}'.")
    lists = {factor: labels if isinstance(labels, list) else [labels] for factor, labels in wanted.items()}
    labels = {factor: [str(label) for label in chosen] for factor, chosen in lists.items()}
    for factor, chosen in labels.items():
        if not chosen:
            raise UserError(f"only: {factor} has no label, so nothing would run.")
        for label in chosen:
            check_labels("only", {factor: label}, study.factors)
    return [run for run in study.runs if all(run.labels[factor] in chosen for factor, chosen in labels.items())]


def _read(file: Path) -> _Page:
    try:
        content = OmegaConf.load(file)
        if not isinstance(content, DictConfig):
            raise UserError(f"{file}: must be a mapping of title, vary, seeds and so on.")
        page: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(_Page), content))
    except MissingMandatoryValue as error:
        raise UserError(f"{file}: {error.full_key} is not set.") from error
    except (OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        message = (explain(error) or str(error)).removeprefix(f"{file.absolute()}, ")
        raise UserError(f"{file}: {message}") from error
    assert isinstance(page, _Page)
    return page


def _choices(file: Path, factor: str, node: Any) -> dict[str, list[str]]:
    """Return label -> overrides, from a mapping of these or a list of values of the option named like the factor."""
    if isinstance(node, Mapping) and node:
        choices = {}
        for label, overrides in node.items():
            if not isinstance(overrides, list | None) or not all(isinstance(each, str) for each in overrides or []):
                raise UserError(f"{file}: vary.{factor}.{label} must be a list of overrides, such as [loss=lmcl].")
            choices[str(label)] = list(overrides or [])
        return choices
    if isinstance(node, list) and node and all(isinstance(value, str | int | float | bool) for value in node):
        words = [str(value).lower() if isinstance(value, bool) else str(value) for value in node]
        if len(set(words)) == len(words):
            return {word: [f"{factor}={word}"] for word in words}
    raise UserError(
        f"{file}: vary.{factor} must be a list of different values, such as [independent, lmcl], or a mapping of labels"
        " to lists of overrides."
    )


def _rows(factors: Mapping[str, Mapping[str, list[str]]]) -> Iterator[dict[str, str]]:
    for labels in itertools.product(*factors.values()):
        yield dict(zip(factors, labels, strict=True))


def _check_search(file: Path, page: _Page) -> None:
    search = page.search
    assert search is not None
    if page.vary or len(page.seeds) > 1:
        raise UserError(f"{file}: a search takes its settings from search.options: no vary, and one seed.")
    if not search.options or search.trials < 1 or search.at_once < 1:
        raise UserError(f"{file}: search needs options, and at least one of trials and at_once.")
    for part, chosen in (("sampler", search.sampler), ("pruner", search.pruner)):
        known = catalog.choices()[f"hydra/sweeper/{part}"]
        if chosen not in known:
            raise unknown(part, f"{file}: search.{part}={chosen}", known)


def _published(file: Path, page: _Page, labels: Mapping[str, list[str]]) -> Iterator[Published]:
    for table in page.published:
        for row in table.rows:
            row_labels = {key: str(value) for key, value in row.items() if key not in ("top1", "deviation")}
            check_labels(f"{file}: published, {table.source}", row_labels, labels)
            top1, deviation = row.get("top1"), row.get("deviation") or {}
            if not isinstance(top1, dict) or not isinstance(deviation, dict):
                raise UserError(f"{file}: published: {row} needs top1 by network, such as top1: {{resnet32: 70.91}}.")
            for value in (*top1.values(), *deviation.values()):
                if number(value) is None:
                    raise UserError(f"{file}: published: {row}: {value} is not a number.")
            for network, value in top1.items():
                yield Published(row_labels, str(network), value, deviation.get(network), table.runs, table.source)
