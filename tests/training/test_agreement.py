"""Processes of one run must have the same images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import Outcome, assert_same

from mcl.data.dataset import Dataset, Splits
from mcl.data.synthetic import Synthetic
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.training.agreement import check_same_images


class Two(ProcessGroup):
    """Process 1 of two; ``first`` has the values of process 0."""

    def __init__(self, first: Any = None):
        self.rank, self.world_size, self.first_has, self.sent = 1, 2, first, None

    def all_gather_object(self, value: Any) -> list[Any]:
        self.sent = value
        return [self.first_has or value, value]


def images(**options: Any) -> tuple[Dataset, Splits, str]:
    dataset = Synthetic(**{"image_size": 8, "classes": 3, "train_per_class": 4, "test_per_class": 2, **options})
    return dataset, dataset.load(), dataset.fingerprint()


def renamed(names: tuple[str, ...]) -> tuple[Dataset, Splits, str]:
    dataset, splits, fingerprint = images()
    dataset.spec = replace(dataset.spec, classes=names)
    return dataset, splits, fingerprint


def relabeled() -> tuple[Dataset, Splits, str]:
    dataset, splits, fingerprint = images()
    return dataset, splits._replace(train=splits.train._replace(labels=splits.train.labels.flip(0))), fingerprint


@pytest.mark.parametrize(
    ("other_data", "named"),
    [
        (lambda: images(train_per_class=5), "train images: 15, not 12"),
        (lambda: images(test_per_class=3), "test images: 9, not 6"),
        (lambda: images(classes=4), "4 classes, not 3"),
        (lambda: images(validation=0.25), "train images: 9, not 12"),
        (lambda: renamed(("a", "c", "b")), "class 1 is c, not b"),
        (lambda: (*images()[:2], "other"), "fingerprint: other, not "),
        (relabeled, "labels: "),
    ],
)
def test_processes_with_different_images_fail_before_training(
    other_data: Callable[[], tuple[Dataset, Splits, str]], named: str
) -> None:
    first = Two()
    check_same_images(first, *renamed(("a", "b", "c")) if "class 1" in named else images())
    with pytest.raises(UserError, match=r"process 1 of 2 \(.*\) sees other images than process 0") as error:
        check_same_images(Two(first.sent), *other_data())
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_processes_with_the_same_images_agree() -> None:
    first = Two()
    check_same_images(first, *images())
    check_same_images(Two(first.sent), *images())


def test_checkpoint_of_other_class_names_is_refused(small: Callable[..., Any], undisturbed: Outcome) -> None:
    names = list(undisturbed.state["classes"])
    checkpoints.save(
        Path("run/checkpoints/last.pt"), {**undisturbed.state, "classes": [names[1], names[0], *names[2:]]}
    )
    refused = small("run")
    assert refused.status == 1
    assert f"class 0 is {names[1]}, not {names[0]}" in refused.err


def test_checkpoint_without_class_names_is_accepted(small: Callable[..., Any], undisturbed: Outcome) -> None:
    state = {key: value for key, value in undisturbed.state.items() if key != "classes"}
    checkpoints.save(Path("run/checkpoints/last.pt"), {**state, "metrics": None})
    assert small("run").status == 0
    assert_same(Outcome("run").state["learner"], state["learner"], "learner")
