"""Open a trained run again, from its folder or from a bundle."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from mcl.config.checks import GROUPS
from mcl.config.constructor_nodes import backbone_node
from mcl.config.loss_arguments import loss_arguments
from mcl.config.replay import replay
from mcl.config.targets import resolve
from mcl.console import summarize
from mcl.data.dataset import Dataset
from mcl.data.preprocessing import Preprocessing
from mcl.data.published import Published
from mcl.deploy.kinds import build_kind, check_classes
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.run_source import open_run_source
from mcl.errors import UserError, check_choice
from mcl.losses.base import Loss
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort
from mcl.runs.identity import differences, identity
from mcl.runs.imported import decode_imported
from mcl.runs.layout import CONFIG, IMPORTED, LAST_CHECKPOINT, SUMMARY, deployed_prefix
from mcl.runs.pair import SHARED_STAGES, branch_kinds, frozen_keys, networks_of, unbranched_keys
from mcl.runs.received import class_names
from mcl.runs.same_run import check_same_run
from mcl.runs.stored_config import decode_config, plain
from mcl.runs.summary import decode_summary
from mcl.training.options import TrainerOptions
from mcl.untrusted.damage import refuse_damaged
from mcl.untrusted.text import shorten

Weights = Literal["last", "best"]
T = TypeVar("T")


class SavedRun:
    """A trained run, read from its folder or from a bundle.

    Args:
        path: The folder or the bundle.
        overrides: Options put on top of the run's own.
        allow: The caller's own modules whose classes the configuration may name.
        allow_older: Take an older checkpoint if the newest one is damaged or missing.

    Raises:
        UserError: There is no run, no checkpoint of it is intact, its newest one is damaged or missing, its files
            belong to several runs, or its configuration names a class that may not be built.
    """

    def __init__(
        self, path: str | Path, overrides: Sequence[str] = (), allow: Sequence[str] = (), *, allow_older: bool = False
    ):
        with refuse_damaged(path):
            self._open(path, overrides, allow, allow_older)

    def _open(self, path: str | Path, overrides: Sequence[str], allow: Sequence[str], allow_older: bool) -> None:
        self.source = open_run_source(Path(path))
        self.allow = list(allow)
        checkpoint = self.source.checkpoint(allow_older=allow_older)
        if checkpoint is None or not isinstance(checkpoint.get("learner"), Mapping):
            raise UserError(f"There is no checkpoint in {path}: give a run folder or a bundle.")
        self.checkpoint = checkpoint
        text = self.source.read(CONFIG)
        if text is None and "config" not in checkpoint:
            raise UserError(f"{path} holds no {CONFIG}, which says which networks the run has.")
        self.stored: dict[str, Any] = checkpoint["config"] if text is None else decode_config(text, f"{path}/{CONFIG}")
        if missing := [group for group in GROUPS if group != "tracking" and group not in self.stored]:
            raise UserError(f"{path}/{CONFIG} is cut off or of another program: it has no {', '.join(missing)}.")
        check_classes(self.stored, allow=self.allow)
        own = self.stored["dataset"] if isinstance(self.stored["dataset"], dict) else {}
        if "cache_dir" in own:  # a file may say where images are read, not where something is written
            own["cache_dir"] = None
        self.stored_root = own.get("root")
        self.config = replay(self.stored, overrides, self.allow)
        self.own_config = replay(self.stored, (), self.allow) if overrides else self.config
        text = self.source.read(SUMMARY)
        self.summary: dict[str, Any] = {} if text is None else decode_summary(text, f"{path}/{SUMMARY}")
        check_same_run(checkpoint, path, config=self.stored, summary=self.summary)
        if not allow_older and self.summary.get("steps", self.step) != self.step:
            raise UserError(
                f"{path}: its newest checkpoint is of step {self.step}, but training ended at step"
                f" {self.summary['steps']}. Put back {LAST_CHECKPOINT}, or take the older weights with"
                " --allow-older (mcl.load: allow_older=True)."
            )

    @cached_property
    def changes(self) -> list[str]:
        """The overridden settings that can change results, such as ``"dataset.limit: None -> 5"``."""
        return differences(identity(self.own_config), identity(self.config))

    @cached_property
    def imported(self) -> dict[str, Any] | None:
        """The record of ``python -m mcl import`` on the networks' file; None for a run that was trained here."""
        return None if "data" in self.checkpoint else decode_imported(self.source.read(IMPORTED))

    @property
    def finished(self) -> bool:
        """Whether training ended with this checkpoint; an imported one counts as finished."""
        return self.imported is not None or self.summary.get("steps") == self.step

    @property
    def hash(self) -> str:
        """The hash of the run's settings; of an imported one, the SHA-256 of its file; empty if there is neither."""
        return str(self.checkpoint.get("config_hash") or (self.imported or {}).get("sha256", ""))

    @property
    def chosen_on(self) -> Literal["validation", "test"]:
        """The split on which the best epochs were chosen."""
        results = self.checkpoint.get("results") or {}
        default = "validation" if results.get("last_validation") else "test"
        return "validation" if self.summary.get("best_epoch_chosen_on", default) == "validation" else "test"

    @property
    def step(self) -> int:
        """The training step of the checkpoint; 0 for an imported one."""
        return int(self.checkpoint.get("step", 0))

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the configuration; its images are not read."""
        dataset = self._build_dataset(self.config)
        if isinstance(dataset, Published) and self.config.dataset.get("root") == self.stored_root:
            dataset.may_fetch = self.stored_root is None  # nothing is written to a place that the file names
        return dataset

    @property
    def trainer_options(self) -> TrainerOptions:
        """The options of the trainer, without those that need what only the machine of training may have."""
        node = {**self.config.trainer, "export": None, "sync_batch_norm": False}
        return self._build(TrainerOptions, node, path="trainer")

    @cached_property
    def _own_dataset(self) -> Dataset:
        """The dataset that the run was trained on, without overrides."""
        return self._build_dataset(self.own_config)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names, by label."""
        names = self.checkpoint.get("classes")
        return self._own_dataset.spec.classes if names is None else class_names(names, str(self.source.path))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The transform from an image file to the networks' input."""
        values = self.checkpoint.get("preprocessing")
        return Preprocessing.of(self._own_dataset) if values is None else Preprocessing.from_dict(values)

    @property
    def keys(self) -> list[str]:
        """The networks' keys in the pair, in order."""
        return list(networks_of(self.config.pair))

    @property
    def deployed(self) -> list[str]:
        """The keys of the networks that are deployed: the leader of a cohort, or all."""
        stored = self.checkpoint.get("deployed")
        chosen = [key for key in stored if key in self.keys] if isinstance(stored, list) else []
        return chosen or self.keys

    @cached_property
    def names(self) -> list[str]:
        """The architectures' names, in order."""
        with torch.device("meta"):  # no weight is drawn
            return [self._factory(key)().name for key in self.keys]

    def name(self, key: str) -> str:
        """Return the name of a network's architecture."""
        return self.names[self.keys.index(key)]

    def best_epochs(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the best epochs, by key, of those networks whose best weights the run has.

        Raises:
            UserError: What the run holds is damaged.
        """
        with refuse_damaged(self.source.path):
            weights = self.checkpoint.get("best") or {}
            return {key: int(self.checkpoint["results"]["best"][key]["epoch"]) for key in keys if key in weights}

    def chosen_keys(self, networks: Sequence[int | str]) -> list[str]:
        """Return the keys of networks that are given as in `key`; of those that are deployed if none is given."""
        return [self.key(network) for network in networks or self.deployed]

    def key(self, network: int | str) -> str:
        """Return the key of a network that is given by its number (from 0), key or name.

        Raises:
            UserError: There is no such network, or two have this name.
        """
        keys, text = self.keys, str(network)
        if text in keys:
            return text
        matches = [key for key, name in zip(keys, self.names, strict=True) if name == text]
        if len(matches) == 1:
            return matches[0]
        if not matches and text.isdecimal() and int(text) < len(keys):
            return keys[int(text)]
        choices = ", ".join(f"{i} or {key} ({self.names[i]})" for i, key in enumerate(keys))
        problem = "two have this name" if matches else "there is none"
        raise UserError(f"network {network}: {problem}; choose {choices}.")

    def backbone(self, network: int | str = 0, weights: Weights = "last") -> Backbone:
        """Return a network, given by number, key or name, as it is deployed: in evaluation mode, on the CPU.

        Raises:
            UserError: There is no such network, there are no such weights of it, or they do not fit.
        """
        check_weights(weights)
        key = self.key(network)
        return build_with_weights(self._factory(key), self._backbone_state(key, weights), self.source.path).eval()

    def deployable(self, key: str, weights: Weights) -> tuple[Backbone, NetworkMetadata]:
        """Return a network as `backbone` does, with its metadata.

        Raises:
            UserError: As in `backbone`, or what the run holds is damaged.
        """
        with refuse_damaged(self.source.path):
            metadata = NetworkMetadata(
                name=self.name(key),
                key=key,
                architecture=self._architecture(key),
                classes=self.classes,
                preprocessing=self.preprocessing,
                weights=weights,
                step=self.step,
            )
            return self.backbone(key, weights), metadata

    def learner(self, weights: Weights = "last") -> tuple[Cohort, Loss]:
        """Return all networks, and the loss with its aggregators; the best weights have no branches or aggregators.

        Raises:
            UserError: There are no such weights, they do not fit, or what the run holds is damaged.
        """
        check_weights(weights)
        with refuse_damaged(self.source.path):
            return self._learner(weights)

    def _learner(self, weights: Weights) -> tuple[Cohort, Loss]:
        factories = {key: self._factory(key) for key in self.keys}
        state = self.checkpoint["learner"]
        branched = weights == "last" and any(".branches." in name for name in state)
        pair = self.config.pair
        shared = 0 if weights == "best" else pair.get(SHARED_STAGES) or 0  # best epochs differ, and so shared stages
        cohort = Cohort(
            factories,
            branched=branched,
            seed=0,
            frozen=frozen_keys(pair),
            unbranched=unbranched_keys(pair),
            branch_kinds=branch_kinds(pair),
            shared_stages=shared,
        )
        if weights == "best":
            for key, network in cohort.items():
                load_weights(network.backbone, self._backbone_state(key, weights), self.source.path)
            return cohort, Loss()
        load_weights(cohort, _below(state, deployed_prefix(state)), self.source.path)
        loss_state = _below(state, "loss.")
        if not loss_state:  # an imported checkpoint
            return cohort, Loss()
        loss_class = resolve(str(self.config.loss._target_), path="loss", allow=self.allow)
        for network in cohort:
            network.returns_maps = getattr(loss_class, "needs_maps", False)
        loss = self._build(
            Loss, self.config.loss, path="loss", **loss_arguments(loss_class, cohort.widths, cohort.shapes)
        )
        needed = {name: tensor for name, tensor in loss_state.items() if not name.startswith(loss.training_state)}
        load_weights(loss, needed, self.source.path)
        return cohort, loss

    def _factory(self, key: str) -> Callable[[], Backbone]:
        return partial(
            self._build,
            Backbone,
            self._architecture(key),
            path=f"pair.{key}",
            num_classes=len(self.classes),
            in_channels=self.preprocessing.channels,
        )

    def _architecture(self, key: str) -> Any:
        return backbone_node(plain(self.config)["pair"][key], path=f"pair.{key}", allow=self.allow)

    def _build_dataset(self, config: Any) -> Dataset:
        return self._build(Dataset, config.dataset, path="dataset")  # type: ignore[type-abstract] # builds a subclass

    def _build(self, kind: type[T], node: Any, *, path: str, **supplied: Any) -> T:
        return build_kind(kind, node, path=path, allow=self.allow, **supplied)

    def _backbone_state(self, key: str, weights: Weights) -> Mapping[str, Tensor]:
        if weights == "last":
            learner = self.checkpoint["learner"]
            return _below(learner, f"{deployed_prefix(learner)}networks.{key}.backbone.")
        best: Mapping[str, Mapping[str, Tensor]] = self.checkpoint.get("best") or {}
        if key not in best:
            raise UserError(f"{self.source.path} was never evaluated, so it has no best weights: use --weights last.")
        return best[key]


def check_weights(weights: str) -> None:
    """Raise UserError unless ``weights`` is ``last`` or ``best``."""
    check_choice("weights", weights, get_args(Weights))


def build_with_weights(build: Callable[[], Backbone], state: Mapping[str, Tensor], path: Path) -> Backbone:
    """Build a network that a file describes and load its weights from the file; raises as `load_weights` does.

    The network is first built without memory, so that a description that is larger than the weights costs none.
    """
    with torch.device("meta"):
        outline = build()
    expected = {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
    given = {str(name): tuple(getattr(tensor, "shape", ())) for name, tensor in _mapping(state, path).items()}
    if differing := sorted(name for name in {*expected, *given} if expected.get(name) != given.get(name)):
        raise UserError(
            f"{path}: its weights do not fit its configuration: {shorten(', '.join(differing))} (for example"
            f" {given.get(differing[0], 'nothing')} in place of {expected.get(differing[0], 'nothing')})."
        )
    backbone = build()
    load_weights(backbone, state, path)
    return backbone


def _mapping(state: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(state, Mapping):
        raise UserError(f"{path}: its weights are not tensors by name.")
    return state


def load_weights(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict that comes from a file.

    Raises:
        UserError: The file's weights do not fit the module, which was built from the file's configuration.
    """
    try:
        module.load_state_dict(dict(state))
    except (RuntimeError, TypeError, AttributeError) as error:
        expected, given = module.state_dict(), _mapping(state, path)
        differing = [name for name in expected if getattr(given.get(name), "shape", None) != expected[name].shape]
        differing += [str(name) for name in given if name not in expected]
        named = summarize([shorten(name) for name in differing], 2)
        raise UserError(
            f"{path}: its weights do not fit its configuration: {named}. The pair"
            " and the loss of a run cannot change: leave out pair=, network@pair.= and loss=."
        ) from error


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
