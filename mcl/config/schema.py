"""Typed schema of a configuration. Groups with a ``_target_`` are checked against their constructors instead."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class Resume(Enum):
    """How to treat a run folder that exists: resume, start over, or resume even if settings changed."""

    auto = "auto"
    never = "never"
    force = "force"


@dataclass
class TrainConfig:
    """Options of a training run. Each dict is a group of ``conf/``."""

    dataset: dict[str, Any] = MISSING
    pair: dict[str, Any] = MISSING
    loss: dict[str, Any] = MISSING
    sampler: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    schedule: dict[str, Any] = MISSING
    trainer: dict[str, Any] = MISSING
    tracking: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    init_from: Any = None  # a place, or network key -> place
    init_weights: Any = None
    weights_checksums: Any = None
    objective: Any = "validation/top1_last"  # or a list
    trial: Any = None
    resume: Resume = Resume.auto
    allow_modules: list[str] = field(default_factory=list)
    runs: str = "runs"


@dataclass
class SweepConfig:
    """Options of ``sweep.py`` itself."""

    study: str = MISSING
    plan_only: bool = False
    only: Any = None  # factor -> label, or labels
    seeds: list[int] | None = None
    runs: str = "runs"
    archived: bool = False
    out: str | None = None
    formats: list[str] = field(default_factory=lambda: ["png"])


def register() -> None:
    """Register the schemas with Hydra."""
    # For --help, Hydra deep-copies its whole store once per group but never modifies the copies. Sharing is faster.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    ConfigStore.instance().store(name="sweep_schema", node=SweepConfig)
