"""One run of a study, before it has run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcl.config.grouping import option


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    labels: dict[str, str]  # factor -> label, without the seed
    seed: int
    overrides: list[str]  # arguments of ``python train.py``
    folder: Path  # its run folder; a stand-in, while a teacher is not trained
    teachers: Mapping[str, "PlannedRun"] = field(default_factory=dict)  # ``pair.second.weights`` -> run of the weights
    stand_ins: tuple[str, ...] = ()  # overrides for the checksums of weights that are not here; empty if all are
    kinds: int = 1  # different networks that it deploys

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the overrides without the seed, and with the settings of teachers in place of their folders."""
        own = [each for each in self.overrides if option(each) != "seed" and option(each) not in self.teachers]
        return (*own, *(each for teacher in self.teachers.values() for each in teacher.settings))
