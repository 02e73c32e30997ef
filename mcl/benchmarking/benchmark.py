"""The benchmark of one configuration: measure it, try other settings, report."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.benchmarking.images import STAND_INS, stand_in
from mcl.benchmarking.isolated import Attempt, attempt
from mcl.benchmarking.measure import GROUPS, Request
from mcl.benchmarking.numbers import in_a_line, summary
from mcl.benchmarking.settings import LEAST, NO_REFERENCE, REFERENCE, RULE, WARM_UP, Tried, judge, search
from mcl.config.compose import Composed, composing
from mcl.errors import UserError

SECONDS = 10.0  # for steps that count
PATIENCE = (120.0, 5.0)  # seconds that trying a setting may take, or so many times as long as the one given
META_ROUNDS = 2
NOWHERE = "dataset.root=null"
IMAGENET = "mcl.data.imagenet.ImageNet"


def benchmark(overrides: Sequence[str], *, steps: int, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """What `mcl.benchmarking.numbers.summary` says of what ``python train.py OVERRIDES`` would run.

    Args:
        overrides: as typed.
        steps: that count, of each setting, `LEAST` or more; fewer where they take long.
        quick: try no other settings.
        tell: told how it goes, in lines.

    Raises:
        UserError: an override is wrong, or the configuration does not train here.
    """
    with composing() as compose, TemporaryDirectory(prefix="mcl-images-") as folder:
        return _Benchmark(compose, overrides, steps, Path(folder), tell).run(quick=quick)


class _Benchmark:
    def __init__(
        self,
        compose: Callable[[Sequence[str]], Composed],
        typed: Sequence[str],
        steps: int,
        folder: Path,
        tell: Callable[[str], None],
    ):
        self.compose, self.typed, self.steps, self.tell = compose, list(typed), steps, tell
        self.rule = RULE
        self.nowhere: list[str] = []  # an override that lets a published dataset be without a folder
        composed = self._given()
        self.config = _resolved(composed.config)
        self.what = _what(composed)
        self.double = stand_in(self.config["dataset"], self.config["allow_modules"], folder)

    def run(self, *, quick: bool) -> dict[str, Any]:
        self.tell("measuring the settings as given ...")
        came = self._attempt([], details=True)
        if came.answer is None:
            raise UserError(came.reason if came.refused else self._advice(came.reason))
        reference = came.answer["losses"] if quick else self._reference(came.answer["losses"])
        given = replace(judge([], came, reference), faster=1.0)
        tried, best = [given], given
        if not quick:
            self._tell_of(given)
            self.tell("the same again, warm, then others in turns ...")
            timeout = max(PATIENCE[0], PATIENCE[1] * came.seconds)
            tried, best = search(
                self.config, given, reference, lambda added: self._attempt(added, timeout=timeout), self._tell_of
            )
        generated = self._said_of_images() if self.double is not None else None
        return summary(tried, best, came.answer, self.rule, self.what, self.typed, generated)

    def _given(self) -> Composed:
        try:
            return self.compose(self.typed)
        except UserError:
            try:  # of ImageNet it is known what there would be
                composed = self.compose([*self.typed, NOWHERE])
            except UserError:
                composed = None
            if composed is None or composed.config.dataset._target_ != IMAGENET:
                raise
            self.nowhere = [NOWHERE]
            return composed

    def _reference(self, given: list[float]) -> list[float]:
        """The losses that are right: those of the given configuration, if it is the reference."""
        trainer = self.config["trainer"]
        asked = [override for override in REFERENCE if override.split("=")[0].partition(".")[2] in trainer]
        plain = self.compose([*self.typed, *self.nowhere, *asked]).config
        if _resolved(plain)["trainer"] == trainer:
            return given
        self.tell("the reference, float32 ...")
        came = self._attempt(asked)
        if came.refused:  # these settings are the given ones but for the precision: it is the loss that is at fault
            self.tell(f"the reference does not train: {came.reason}")
            return [math.nan]
        if came.answer is None:
            self.tell(
                f"the reference did not run ({came.reason}): losses are compared with those of the settings given"
            )
            self.rule = NO_REFERENCE
            return given
        losses: list[float] = came.answer["losses"]
        return losses

    def _attempt(self, added: Sequence[str], *, details: bool = False, timeout: float | None = None) -> Attempt:
        config = _resolved(self.compose([*self.typed, *self.nowhere, *added]).config)
        if self.double is not None:
            config["dataset"] = self.double
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
        return attempt(request, timeout)

    def _tell_of(self, one: Tried) -> None:
        self.tell(in_a_line(one))

    def _advice(self, reason: str) -> str:
        smaller = "a smaller trainer.batch_size"
        if self.config["loss"].get("meta"):
            smaller += ", or loss.meta.memory=recompute"
        return f"training did not run with these settings: {reason}. If memory is short, try {smaller}."

    def _said_of_images(self) -> str:
        name = self.what.partition("/")[0]
        return f"no images of {name} found here: generated ones stand in, as many and as large, of as many classes."


def _resolved(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _what(composed: Composed) -> str:
    """``digits/resnet8/lmcl``, where run folders are named so."""
    folder, runs = composed.folder.parent, Path(composed.config.runs)
    return (folder.relative_to(runs) if folder.is_relative_to(runs) else folder).as_posix()
