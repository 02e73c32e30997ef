"""The classes that a received file may name, each bound to its place, and how they are built."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import OmegaConf

from mcl.config.instantiate import build
from mcl.config.targets import PACKAGES, defined_in, inside, resolve
from mcl.errors import UserError
from mcl.untrusted.limits import MAX_SIZE
from mcl.untrusted.text import shorten

T = TypeVar("T")


def _members(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


_TRANSFORMS = (
    "AugMix AutoAugment CenterCrop ColorJitter Compose ElasticTransform FiveCrop GaussianBlur Grayscale Pad RandAugment"
    " RandomAdjustSharpness RandomAffine RandomApply RandomAutocontrast RandomChoice RandomCrop RandomEqualize"
    " RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomOrder RandomPerspective RandomPosterize"
    " RandomResizedCrop RandomRotation RandomSolarize RandomVerticalFlip Resize TrivialAugmentWide"
)
_NEW_TRANSFORMS = (  # of version 2 alone
    "GaussianNoise JPEG RandomPhotometricDistort RandomResize RandomShortestSize RandomZoomOut RGB ScaleJitter"
)
_NETWORKS = {
    *("mcl.networks.hcgnet.HCGNet", "mcl.networks.resnet.ResNet", "mcl.networks.shufflenetv2.ShuffleNetV2"),
    *("mcl.networks.torchvision.TorchvisionBackbone", "mcl.networks.wide_resnet.WideResNet"),
    "mcl.networks.library.LibraryBackbone",
}
CLASSES: dict[str, set[str]] = {  # place -> classes; "*" is one key of a mapping, "**" keys and numbers at any depth
    "pair.*": _NETWORKS,
    "architecture": _NETWORKS,  # of an exported file
    "dataset": {
        *("mcl.data.cifar.Cifar10", "mcl.data.cifar.Cifar100", "mcl.data.digits.Digits", "mcl.data.folder.Folder"),
        *("mcl.data.csv_labels.CsvLabels", "mcl.data.hugging_face.HuggingFace"),
        *("mcl.data.fashion_mnist.FashionMNIST", "mcl.data.imagenet.ImageNet", "mcl.data.synthetic.Synthetic"),
    },
    "dataset.augmentation": {"mcl.data.augmentation.Augmentation"},
    "dataset.transform.**": _members("torchvision.transforms", _TRANSFORMS)
    | _members("torchvision.transforms.v2", f"{_TRANSFORMS} {_NEW_TRANSFORMS}"),
    "loss": {
        *("mcl.losses.independent.Independent", "mcl.losses.deep_supervision.DeepSupervision"),
        *("mcl.losses.lmcl.LMCL", "mcl.losses.mcl.MCL"),
        *("mcl.losses.kd.KD", "mcl.losses.dml.DML", "mcl.losses.kdcl.KDCL", "mcl.losses.cl_ilr.CLILR"),
        *("mcl.losses.one.ONE", "mcl.losses.okddip.OKDDip", "mcl.losses.pcl.PCL", "mcl.losses.ffl.FFL"),
        *("mcl.losses.switokd.SwitOKD", "mcl.losses.dks.DKS", "mcl.losses.byot.BYOT"),
    },
    "loss.weights.*": _members("mcl.losses.ramps", "Constant Linear Sigmoid Step"),
    "loss.contrast": _members("mcl.losses.contrast_sources", "BankContrast BatchContrast"),
    "loss.matching": _members("mcl.losses.matching", "FixedMatching LayerMatching"),
    "loss.meta": {"mcl.losses.base.MetaSchedule"},
    "sampler": _members("mcl.data.samplers", "ClassBalanced Shuffle") | {"mcl.data.resampling.Resampled"},
    "optimizer": _members("torch.optim", "Adadelta Adagrad Adam AdamW Adamax ASGD NAdam RAdam RMSprop Rprop SGD")
    | {"timm.optim.Lamb"},
    "schedule": _members("mcl.training.schedules", "Constant Cosine MultiStep"),
    "trainer": {"mcl.training.options.TrainerOptions"},
    "tracking.*": _members("mcl.tracking", "MlflowTracker TensorBoardTracker WandbTracker"),
}
_SIZED = ("pair.", "architecture")  # places whose numbers are sizes of a network


def build_kind(kind: type[T], node: Any, *, path: str, allow: Sequence[str] = (), **supplied: Any) -> T:
    """Build a node of a received configuration if its classes belong in their places; it must give a ``kind``.

    Args:
        kind: the class, or a base class, of what the place holds.
        node: mapping with ``_target_``.
        path: the node's path in the configuration.
        allow: the caller's own modules, whose classes and functions may stand anywhere.
        supplied: arguments that do not come from the configuration.

    Raises:
        UserError: It names something that a received file may not build there, gives something else, or cannot be
            built.
    """
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)  # only what the user typed holds interpolations
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{path}: no _target_ here, so there is nothing to build.")
    check_classes(node, path=path, allow=allow)
    built = build(node, path=path, allow=allow, **supplied)
    if not isinstance(built, kind):
        raise UserError(f"{path}._target_={shorten(node['_target_'])}: does not give a {kind.__name__}.")
    return built


def check_classes(node: Any, *, path: str = "", allow: Sequence[str] = ()) -> None:
    """Raise UserError unless every ``_target_`` inside a received value is a class that belongs in its place.

    Args:
        node: a whole configuration, or the node at ``path``.
        path: where it stands in the configuration.
        allow: the caller's own modules, whose classes and functions may stand anywhere.

    Raises:
        UserError: A class does not belong in its place, or a number of a network is too large. The numbers of the
            caller's own classes have no limit.
    """
    _check(node, path, allow, trusted=False)


def _check(node: Any, place: str, allow: Sequence[str], *, trusted: bool) -> None:
    """Check a node and everything inside it; ``trusted`` is whether it is an argument of the caller's own class."""
    if isinstance(node, Mapping) and "_target_" in node:
        trusted = _is_own_class(node["_target_"], place, allow)
    elif not trusted and place.startswith(_SIZED) and isinstance(node, int | float) and abs(node) > MAX_SIZE:
        raise UserError(f"{place}={shorten(node)}: no number of a received network may be above {MAX_SIZE:,}.")
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, child in children:
        _check(child, f"{place}.{key}" if place else str(key), allow, trusted=trusted)


def _is_own_class(name: Any, place: str, allow: Sequence[str]) -> bool:
    """Return whether a ``_target_`` is of the caller's modules; raises unless it is, or belongs in its place."""
    allowed = set().union(*(classes for pattern, classes in CLASSES.items() if _matches(pattern, place)))
    if isinstance(name, str) and name in allowed:
        return False
    where = f"{shorten(place)}._target_={shorten(name)}"
    if isinstance(name, str) and inside(name, [*PACKAGES, *allow]):
        target = resolve(name, path=place, allow=allow)
        if defined_in(target, allow):
            return True
        if f"{target.__module__}.{getattr(target, '__qualname__', '')}" in allowed:
            return False
    what = f"only {', '.join(sorted(allowed))}" if allowed else "nothing"
    home = shorten(str(name).rpartition(".")[0] or name)
    trust = f" If you trust what it names: --allow {home} (mcl.load: allow=[{home!r}])."
    raise UserError(f"{where}: a received file may build {what} here.{'' if inside(home, ['mcl']) else trust}")


def _matches(pattern: str, place: str) -> bool:
    expression = re.escape(pattern).replace(r"\.\*\*", r"(\..+)?").replace(r"\*", r"[^.]+")
    return re.fullmatch(expression, place) is not None
