"""Benchmark one configuration: measure it, try other settings, summarize."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.benchmarking.derived import one_line, summary
from mcl.benchmarking.images import STAND_INS, stand_in
from mcl.benchmarking.isolated import Measurement, measure_in_process
from mcl.benchmarking.measure import GROUPS, Request
from mcl.benchmarking.settings import LEAST, NO_REFERENCE, REFERENCE, RULE, WARM_UP, Tried, judge, search
from mcl.config.compose import Composed, composing
from mcl.errors import UserError
from mcl.files import expand_home

SECONDS = 10.0  # duration of the timed steps
TIMEOUT = (120.0, 5.0)  # limit for one setting: seconds, or this factor times the time of the given settings if longer
META_ROUNDS = 2
WITHOUT_ROOT = "dataset.root=null"
IMAGENET = "mcl.data.imagenet.ImageNet"


def run_benchmark(overrides: Sequence[str], *, steps: int, quick: bool, log: Callable[[str], None]) -> dict[str, Any]:
    """Benchmark what ``python train.py OVERRIDES`` would run.

    Args:
        overrides: overrides of ``python train.py``.
        steps: to time for each setting, at least `LEAST`; fewer if they are slow.
        quick: try no other settings.
        log: called with a line for each thing done.

    Returns:
        See `mcl.benchmarking.derived.summary`.

    Raises:
        UserError: an override is wrong, or the configuration does not train here.
    """
    with composing() as compose, TemporaryDirectory(prefix="mcl-images-") as folder:
        return _Benchmark(compose, overrides, steps, Path(folder), log).run(quick=quick)


class _Benchmark:
    def __init__(
        self,
        compose: Callable[[Sequence[str]], Composed],
        typed: Sequence[str],
        steps: int,
        folder: Path,
        log: Callable[[str], None],
    ):
        self.compose, self.typed, self.steps, self.log = compose, list(typed), steps, log
        self.rule = RULE
        self.without_root: list[str] = []
        composed = self._compose_given()
        self.config = _resolved(composed.config)
        self.name = _name(composed)
        self.generated = stand_in(self.config["dataset"], self.config["allow_modules"], folder)

    def run(self, *, quick: bool) -> dict[str, Any]:
        self.log("measuring the given settings ...")
        first = self._measure([], details=True)
        if first.answer is None:
            raise UserError(first.reason if first.refused else self._advice(first.reason))
        reference = first.answer["losses"] if quick else self._reference_losses(first.answer["losses"])
        given = replace(judge([], first, reference), faster=1.0)
        tried, best = [given], given
        if not quick:
            self._log_setting(given)
            self.log("the same again, warm, then others in turns ...")
            timeout = max(TIMEOUT[0], TIMEOUT[1] * first.seconds)
            tried, best = search(
                self.config, given, reference, lambda added: self._measure(added, timeout=timeout), self._log_setting
            )
        note = None
        if self.generated is not None:
            dataset = self.name.partition("/")[0]
            note = f"no images of {dataset} found: generated ones of the same number, size and classes replace them."
        return summary(tried, best, first.answer, self.rule, self.name, self.typed, note)

    def _compose_given(self) -> Composed:
        try:
            return self.compose(self.typed)
        except UserError:
            try:  # ImageNet's images can be generated without its folder
                composed = self.compose([*self.typed, WITHOUT_ROOT])
            except UserError:
                composed = None
            if composed is None or composed.config.dataset._target_ != IMAGENET:
                raise
            self.without_root = [WITHOUT_ROOT]
            return composed

    def _reference_losses(self, given: list[float]) -> list[float]:
        """Return the losses to compare with; measure them unless the given configuration is the reference."""
        trainer = self.config["trainer"]
        changes = [override for override in REFERENCE if override.split("=")[0].partition(".")[2] in trainer]
        if self._compose(changes)["trainer"] == trainer:
            return given
        self.log("the reference, float32 ...")
        reference = self._measure(changes)
        if reference.refused:  # the precision alone differs from the given settings: the loss itself is wrong
            self.log(f"the reference does not train: {reference.reason}")
            return [math.nan]
        if reference.answer is None:
            self.log(
                f"the reference did not run ({reference.reason}): losses are compared with those of the given settings"
            )
            self.rule = NO_REFERENCE
            return given
        losses: list[float] = reference.answer["losses"]
        return losses

    def _compose(self, added: Sequence[str]) -> dict[str, Any]:
        return _resolved(self.compose([*self.typed, *self.without_root, *added]).config)

    def _measure(self, added: Sequence[str], *, details: bool = False, timeout: float | None = None) -> Measurement:
        config = self._compose(added)
        if self.generated is not None:
            config["dataset"] = self.generated
            config["allow_modules"] = [*config["allow_modules"], STAND_INS]
        request = Request(
            {name: config[name] for name in GROUPS},
            steps=self.steps,
            warm_up=WARM_UP,
            least=LEAST,
            seconds=SECONDS,
            meta_rounds=META_ROUNDS if details else 1,
            details=details,
        )
        return measure_in_process(request, timeout)

    def _log_setting(self, setting: Tried) -> None:
        self.log(one_line(setting))

    def _advice(self, reason: str) -> str:
        smaller = "a smaller trainer.batch_size"
        if self.config["loss"].get("meta"):
            smaller += ", or loss.meta.memory=recompute"
        return f"training did not run with these settings: {reason}. If memory is short, try {smaller}."


def _resolved(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _name(composed: Composed) -> str:
    """Return the run folder without its hash, such as ``digits/resnet8/lmcl``."""
    folder, runs = composed.folder.parent, expand_home(composed.config.runs)
    return (folder.relative_to(runs) if folder.is_relative_to(runs) else folder).as_posix()
