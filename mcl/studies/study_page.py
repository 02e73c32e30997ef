"""The page of a study, ``study.yaml``: its schema, read and checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mcl.config import catalog
from mcl.config.explain import explain
from mcl.config.quoting import quoted
from mcl.errors import UserError, unknown
from mcl.files import expand_home
from mcl.runs.reading import number
from mcl.studies.claim import Claim
from mcl.studies.labels import check_labels, label_text

FILE = "study.yaml"
PUBLISHED = "published"
LABELED = ("baseline", "claim", PUBLISHED)  # parts that name rows by their labels
_LISTED = {str: "overrides, such as [loss=lmcl]", int: "whole numbers, such as [0, 1]"}  # what a list of these is


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
        given = [self.warm_start] if isinstance(self.warm_start, str) else self.warm_start or []
        places = [quoted(str(expand_home(str(place)))) for place in given]
        return [
            "hydra/sweeper=optuna",
            f"hydra/sweeper/sampler={self.sampler}",
            f"hydra/sweeper/pruner={self.pruner}",
            f"hydra.sweeper.n_trials={self.trials}",
            f"hydra.sweeper.n_jobs={self.at_once}",
            *([f"hydra.sweeper.warm_start=[{','.join(places)}]"] if places else []),
        ]


@dataclass
class PublishedTable:
    source: str = MISSING
    runs: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Page:
    """The schema of ``study.yaml``."""

    title: str = MISSING
    text: str = ""
    hold: list[str] = field(default_factory=list)
    vary: dict[str, Any] = field(default_factory=dict)
    skip: list[dict[str, Any]] = field(default_factory=list)  # factor, or ``seed``, -> label or list of labels
    seeds: list[int] = field(default_factory=lambda: [0])
    baseline: dict[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    ranks: bool = False
    published: list[PublishedTable] = field(default_factory=list)
    search: Search | None = None
    teachers: dict[str, list[str]] = field(default_factory=dict)  # name -> overrides of runs that come before the rows


def read_page(file: Path) -> Page:
    """Read a page.

    Raises:
        UserError: It is not a mapping of these options.
    """
    try:
        content = OmegaConf.load(file)
        if not isinstance(content, DictConfig):
            raise UserError(f"{file}: must be a mapping of title, vary, seeds and so on.")
        _check_shape(file, "", OmegaConf.to_container(content, resolve=True), Page)
        for name in LABELED:
            if OmegaConf.is_config(part := content.get(name)):
                kinds = (bool,) if name == PUBLISHED else (bool, int, float)  # the accuracies there stay numbers
                content[name] = _with_label_texts(OmegaConf.to_container(part), kinds)
        page: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Page), content))
    except MissingMandatoryValue as error:
        raise UserError(f"{file}: {error.full_key} is not set.") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}.") from error
    except (OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError) as error:
        message = (explain(error) or str(error)).removeprefix(f"{file.absolute()}, ")
        raise UserError(f"{file}: {message}") from error
    assert isinstance(page, Page)
    return page


def _check_shape(file: Path, name: str, node: Any, hint: Any) -> None:
    """Raise UserError where a page has, say, text in place of a list. OmegaConf would speak of Python's types."""
    if isinstance(hint, UnionType):  # of something and None
        if node is None:
            return
        hint = get_args(hint)[0]
    parts = get_args(hint)
    if get_origin(hint) is list:
        if not isinstance(node, list) or (parts[0] in (str, int) and not all(isinstance(each, parts) for each in node)):
            raise UserError(f"{file}: {name} must be a list of {_LISTED.get(parts[0], 'mappings')}.")
        for i, each in enumerate(node):
            _check_shape(file, f"{name}[{i}]", each, parts[0])
    elif get_origin(hint) is dict or is_dataclass(hint):
        if not isinstance(node, dict):
            raise UserError(f"{file}: {name} must be a mapping.")
        hints = get_type_hints(hint) if is_dataclass(hint) else dict.fromkeys(node, parts[1])
        for key, each in node.items():
            if key in hints:
                _check_shape(file, f"{name}.{key}".lstrip("."), each, hints[key])
    elif hint is str and (node is None or isinstance(node, dict | list)):
        raise UserError(f"{file}: {name} must be a single value.")


def _with_label_texts(node: Any, kinds: tuple[type, ...]) -> Any:
    """Return plain data with values of some kinds as `label_text` writes them.

    OmegaConf would write ``True``, and takes no number for a label in a list, such as an ablation of ``claim``.
    """
    if isinstance(node, dict):
        return {key: _with_label_texts(child, kinds) for key, child in node.items()}
    if isinstance(node, list):
        return [_with_label_texts(child, kinds) for child in node]
    return label_text(node) if isinstance(node, kinds) else node


def choices_of(file: Path, factor: str, node: Any) -> dict[str, list[str]]:
    """Return label -> overrides, from a mapping of these or a list of values of the option named like the factor.

    Raises:
        UserError: It is neither, or a value is given twice.
    """
    if isinstance(node, Mapping) and node:
        choices = {}
        for label, overrides in node.items():
            if not isinstance(overrides, list | None) or not all(isinstance(each, str) for each in overrides or []):
                raise UserError(f"{file}: vary.{factor}.{label} must be a list of overrides, such as [loss=lmcl].")
            choices[label_text(label)] = list(overrides or [])
        return choices
    if isinstance(node, list) and node and all(isinstance(value, str | int | float | bool) for value in node):
        words = [label_text(value) for value in node]
        if len(set(words)) == len(words):
            return {word: [f"{factor}={word}"] for word in words}
    raise UserError(
        f"{file}: vary.{factor} must be a list of different values, such as [independent, lmcl], or a mapping of labels"
        " to lists of overrides."
    )


def check_search(file: Path, page: Page, seeds: Sequence[int]) -> None:
    """Raise UserError unless the page of a search has what a search needs, and nothing else."""
    search = page.search
    assert search is not None
    if page.vary or page.teachers or len(seeds) > 1:
        raise UserError(f"{file}: a search takes its settings from search.options: no vary, no teachers, and one seed.")
    if not search.options or search.trials < 1 or search.at_once < 1:
        raise UserError(f"{file}: search needs options, and at least one of trials and at_once.")
    for part, chosen in (("sampler", search.sampler), ("pruner", search.pruner)):
        known = catalog.choices()[f"hydra/sweeper/{part}"]
        if chosen not in known:
            raise unknown(part, f"{file}: search.{part}={chosen}", known)


def published_of(file: Path, page: Page, labels: Mapping[str, list[str]]) -> Iterator[Published]:
    """Yield the accuracies from papers; raise UserError if a row that they are compared with does not exist.

    Raises:
        UserError: There is no such row, or its accuracies are not numbers by network.
    """
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
            if unmatched := deviation.keys() - top1.keys():
                raise UserError(f"{file}: published: {row}: deviation names {min(unmatched)}, which has no top1.")
            for network, value in top1.items():
                yield Published(row_labels, str(network), value, deviation.get(network), table.runs, table.source)
