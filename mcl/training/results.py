"""Accuracies over the epochs of a run, and their part of summary.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mcl.training.evaluation import AGGREGATED, BACKBONE, ENSEMBLE


@dataclass
class Results:
    """Results of all evaluations so far.

    Args:
        networks: ``(key, name)`` of each network, such as ``("first", "resnet8")``.
        chosen_on: split that decides which epoch is best: ``validation`` if there is one, else ``test``.
    """

    networks: list[tuple[str, str]]
    chosen_on: str
    last: dict[str, float] = field(default_factory=dict)  # test metrics of the last evaluation; empty without it
    last_validation: dict[str, float] = field(default_factory=dict)  # empty without a validation split
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # key -> chosen, top1 (or None if unknown), epoch
    best_head: dict[str, float] = field(default_factory=dict)  # key -> top-1, maximum over stage heads and epochs
    calibration: dict[str, float] = field(default_factory=dict)  # head -> error on the test split at the end

    def add(
        self,
        epoch: int,
        by_split: Mapping[str, Mapping[str, float]],
        calibration: Mapping[str, float] = MappingProxyType({}),
    ) -> list[str]:
        """Add the evaluation of one epoch.

        Args:
            epoch: number of the epoch, from 1.
            by_split: metrics of `evaluate`.
            calibration: calibration error of each head, if it was measured.

        Returns:
            Keys of the networks that improved on their best epoch.
        """
        improved = []
        self.calibration = dict(calibration)
        test, selection = by_split.get("test", {}), by_split[self.chosen_on]
        self.last = dict(test)
        self.last_validation = dict(by_split.get("validation", {}))
        for key, _ in self.networks:
            chosen = selection[f"{key}/{BACKBONE}/top1"]
            before = self.best.get(key, {}).get("chosen")
            if before is None or chosen > before:
                top1 = test.get(f"{key}/{BACKBONE}/top1")
                self.best[key] = {"chosen": chosen, "top1": top1, "epoch": epoch}
                improved.append(key)
            stages = [
                value
                for name, value in test.items()
                if name.startswith(f"{key}/") and name.endswith("/top1") and f"/{AGGREGATED}/" not in name
            ]
            if stages:
                self.best_head[key] = max(self.best_head.get(key, 0.0), *stages)
        return improved

    def summary(self) -> dict[str, Any]:
        """Return the accuracies of summary.json in percent, on the test split unless named validation.

        Those of the test split are None if it was not evaluated.
        """
        networks = [
            {
                "key": key,
                "name": name,
                "top1_last": self.last.get(f"{key}/{BACKBONE}/top1"),
                "top5_last": self.last.get(f"{key}/{BACKBONE}/top5"),
                "top1_best": self.best[key]["top1"],
                "best_epoch": int(self.best[key]["epoch"]),
                "top1_max_over_heads": self.best_head.get(key),
                "ece_last": self.calibration.get(f"{key}/{BACKBONE}"),
                "aggregated_top1_last": self.last.get(f"{key}/{AGGREGATED}/top1"),
                "validation_top1_last": self.last_validation.get(f"{key}/{BACKBONE}/top1"),
                "validation_top1_best": self.best[key]["chosen"] if self.chosen_on == "validation" else None,
            }
            for key, name in self.networks
        ]
        return {
            "networks": networks,
            "ensemble": {
                "top1_last": self.last.get(f"{ENSEMBLE}/top1"),
                "ece_last": self.calibration.get(ENSEMBLE),
            },
            "top1_max_over_run": max(self.best_head.values(), default=None),
            "best_epoch_chosen_on": self.chosen_on,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the results for a checkpoint."""
        return {
            "last": self.last,
            "last_validation": self.last_validation,
            "best": self.best,
            "chosen_on": self.chosen_on,
            "best_head": self.best_head,
            "calibration": self.calibration,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the results of a checkpoint."""
        self.last, self.last_validation = dict(state["last"]), dict(state.get("last_validation", {}))
        self.best, self.best_head = dict(state["best"]), dict(state["best_head"])
        if state.get("chosen_on", self.chosen_on) != self.chosen_on:  # resume=force: the next evaluation is the best
            self.best = {key: {**best, "chosen": None} for key, best in self.best.items()}
        self.calibration = dict(state.get("calibration", {}))
