"""Open a trained run again, from its folder or from a bundle."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mcl.config.instantiate import build
from mcl.config.replay import replay
from mcl.data.dataset import Dataset
from mcl.data.preprocessing import Preprocessing
from mcl.deploy.kinds import check_kinds
from mcl.deploy.run_source import Folder, open_place
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.checkpoints import Checkpoints
from mcl.runs.identity import differences, identity
from mcl.runs.imported import decode_imported
from mcl.runs.layout import CHECKPOINTS, CONFIG, IMPORTED, LAST, LAST_CHECKPOINT, SUMMARY
from mcl.runs.same_run import refuse_other_run
from mcl.runs.stored_config import decode_config
from mcl.runs.summary import decode_summary

Weights = Literal["last", "best"]
T = TypeVar("T")


class SavedRun:
    """What a run folder or a bundle holds.

    Args:
        path: of the folder, or of the bundle.
        overrides: options put on top of the run's own.
        allow: the caller's own modules that the configuration may name.

    Raises:
        UserError: there is no run, nothing whole is left of it, its files are of several runs, or its configuration
            names what may not be built.
    """

    def __init__(self, path: str | Path, overrides: Sequence[str] = (), allow: Sequence[str] = ()):
        self.place = open_place(Path(path))
        self.allow = list(allow)
        self.checkpoint = self._checkpoint()
        text = self.place.read(CONFIG)
        if text is None and "config" not in self.checkpoint:
            raise UserError(f"{path} holds no config.yaml, so nobody knows which networks it has.")
        stored = self.checkpoint["config"] if text is None else decode_config(_decoded(text), f"{path}/{CONFIG}")
        self.stored: dict[str, Any] = stored
        self.config = replay(stored, overrides, self.allow)
        self.own_config = replay(stored, (), self.allow) if overrides else self.config
        text = self.place.read(SUMMARY)
        self.summary: dict[str, Any] = {} if text is None else decode_summary(text, f"{path}/{SUMMARY}")
        refuse_other_run(self.checkpoint, path, config=stored, summary=self.summary)

    @cached_property
    def changes(self) -> list[str]:
        """Settings that the overrides changed and that can change results: ``"dataset.limit: None -> 5"``."""
        return differences(identity(self.own_config), identity(self.config))

    @cached_property
    def imported(self) -> dict[str, Any] | None:
        """What ``python -m mcl import`` recorded of the file that the networks come from; None if trained here."""
        return None if "data" in self.checkpoint else decode_imported(self.place.read(IMPORTED))

    @property
    def finished(self) -> bool:
        """Whether training ended with this checkpoint; an imported one counts as such."""
        return self.imported is not None or self.summary.get("steps") == self.step

    @property
    def chosen_on(self) -> Literal["validation", "test"]:
        """The split that the best epochs were chosen on."""
        results = self.checkpoint.get("results") or {}
        validated = "validation" if results.get("last_validation") else "test"
        return "validation" if self.summary.get("best_epoch_chosen_on", validated) == "validation" else "test"

    @property
    def step(self) -> int:
        """Of the checkpoint; 0 for an imported one."""
        return int(self.checkpoint.get("step", 0))

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the configuration; its images are not read."""
        return self._build(Dataset, self.config.dataset, path="dataset")  # type: ignore[type-abstract]

    @cached_property
    def _own_dataset(self) -> Dataset:
        """The dataset that the run was trained on, whatever the overrides name."""
        if self.own_config is self.config:
            return self.dataset
        return self._build(Dataset, self.own_config.dataset, path="dataset")  # type: ignore[type-abstract]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names, by label."""
        found = self.checkpoint.get("classes")
        return self._own_dataset.spec.classes if found is None else tuple(map(str, found))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What images go through before a network sees them."""
        found = self.checkpoint.get("preprocessing")
        return Preprocessing.of(self._own_dataset) if found is None else Preprocessing.from_dict(found)

    @property
    def keys(self) -> list[str]:
        """What the pair calls its networks, in order."""
        return [str(key) for key in self.config.pair]

    @cached_property
    def names(self) -> list[str]:
        """The architectures' names, in order."""
        with torch.device("meta"):  # no weight is drawn
            return [self._factory(key)().name for key in self.keys]

    def key(self, network: int | str) -> str:
        """The key of a network that is given by its number (from 0), key or name.

        Raises:
            UserError: there is no such network, or two have this name.
        """
        keys, text = self.keys, str(network)
        named = [key for key, name in zip(keys, self.names, strict=True) if name == text]
        if text in keys:
            return text
        if len(named) == 1:
            return named[0]
        if not named and text.isdecimal() and int(text) < len(keys):
            return keys[int(text)]
        choices = ", ".join(f"{i} or {key} ({self.names[i]})" for i, key in enumerate(keys))
        problem = "two have this name" if named else "there is none"
        raise UserError(f"network {network}: {problem}; choose {choices}.")

    def backbone(self, network: int | str = 0, weights: Weights = "last") -> Backbone:
        """A network as it is deployed, in evaluation mode on the CPU.

        Args:
            network: its number (from 0), key or name.
            weights: as training left it, or those of its best epoch.
        """
        key = self.key(network)
        backbone = self._factory(key)()
        self._load(backbone, self._backbone_state(key, weights))
        return backbone.eval()

    def learner(self, weights: Weights = "last") -> tuple[Cohort, Loss]:
        """All networks, and the loss for its aggregators. Best backbones come without branches and aggregators."""
        factories = {key: self._factory(key) for key in self.keys}
        state = self.checkpoint["learner"]
        branched = weights == "last" and any(".branches." in name for name in state)
        cohort = Cohort(factories, branched=branched, seed=0)
        if weights == "best":
            for key, backbone in zip(self.keys, cohort.backbones, strict=True):
                self._load(backbone, self._backbone_state(key, weights))
            return cohort, Loss()
        self._load(cohort, _below(state, "cohort."))
        own = _below(state, "loss.")
        if not own:  # an imported checkpoint
            return cohort, Loss()
        loss = self._build(Loss, self.config.loss, path="loss", widths=cohort.widths)
        self._load(loss, {name: tensor for name, tensor in own.items() if not name.startswith(loss.training_state)})
        return cohort, loss

    def _factory(self, key: str) -> Callable[[], Backbone]:
        return partial(
            self._build,
            Backbone,
            self.config.pair[key],
            path=f"pair.{key}",
            num_classes=len(self.classes),
            in_channels=self.preprocessing.channels,
        )

    def _build(self, kind: type[T], node: Any, *, path: str, **supplied: Any) -> T:
        return build_kind(kind, node, path=path, allow=self.allow, **supplied)

    def _backbone_state(self, key: str, weights: Weights) -> Mapping[str, Tensor]:
        if weights == "last":
            return _below(self.checkpoint["learner"], f"cohort.networks.{key}.backbone.")
        best: Mapping[str, Mapping[str, Tensor]] = self.checkpoint.get("best") or {}
        if key not in best:
            raise UserError(f"{self.place.path} was never evaluated, so no best weights are kept: take the last ones.")
        return best[key]

    def _load(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        try:
            module.load_state_dict(dict(state))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.place.path}: its weights do not fit its configuration. {reason}") from error

    def _checkpoint(self) -> dict[str, Any]:
        path = self.place.path
        if isinstance(self.place, Folder):
            found = Checkpoints(path / CHECKPOINTS).newest()
        else:
            content = self.place.read(LAST_CHECKPOINT)
            found = None if content is None else checkpoints.decode(content, f"{path}: {LAST}")
        if found is None or not isinstance(found.get("learner"), Mapping):
            raise UserError(f"{path} holds no checkpoint of a run.")
        return found


def build_kind(kind: type[T], node: Any, *, path: str, allow: Sequence[str] = (), **supplied: Any) -> T:
    """Build a node of a received configuration, if it gives what is expected there.

    Raises:
        UserError: it does not, or names something that a received file may not build, or cannot be built.
    """
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)  # only what the user typed holds interpolations
    check_kinds(kind, node, path=path, allow=allow)
    built = build(node, path=path, allow=allow, **supplied)
    if not isinstance(built, kind):
        raise UserError(f"{path}._target_={node['_target_']}: gives no {kind.__name__}.")
    return built


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")
