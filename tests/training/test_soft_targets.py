"""Options of the classification reach the loss, or are refused before training."""

import pytest
import torch

from mcl.config.compose import compose_train
from mcl.data.digits import Digits
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.training.options import TrainerOptions
from mcl.training.setup import Parts, assemble
from mcl.training.soft_targets import class_weights, set_targets

QUICK = ["trainer.device=cpu", "tracking=none", "pair.first.depths=[1,1]", "pair.second.depths=[1,1]"]


def parts(*overrides: str) -> Parts:
    return assemble(compose_train([*QUICK, *overrides]))


def test_balanced_weights_are_inverse_to_the_images_and_average_to_one() -> None:
    counts = [40, 10, 0, 50]
    weights = class_weights("balanced", counts)
    torch.testing.assert_close(weights * torch.tensor(counts), torch.tensor([100 / 3, 100 / 3, 0.0, 100 / 3]))
    assert float((weights * torch.tensor(counts)).sum()) == pytest.approx(sum(counts))


@pytest.mark.parametrize("given", [[1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 0.0, 0.0]])
def test_weights_that_do_not_fit_are_refused(given: list[float]) -> None:
    with pytest.raises(UserError, match="give 3 numbers, one for each class"):
        class_weights(given, [5, 5, 5])


def test_the_command_line_reaches_the_loss() -> None:
    weights = [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    loss = parts("loss=mcl", "trainer.label_smoothing=0.2", f"trainer.class_weights={weights}").learner.loss
    assert loss.label_smoothing == 0.2
    assert loss.class_weights is not None
    assert loss.class_weights.tolist() == weights


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=switokd", "trainer.mixup=0.2"], "trainer.mixup=0.2: mixed images have two labels"),
        (["loss=kdcl", "trainer.cutmix=1"], "trainer.cutmix=1: mixed images have two labels"),
        (["trainer.mixup=0.2", "trainer.batch_size=33"], "must be a multiple of 2"),
        (["trainer.accumulate=3"], "does not divide into 3 chunks"),
        (["trainer.label_smoothing=1"], "must be from 0 to below 1"),
        (["trainer.class_weights=[1,2]"], "give 10 numbers"),
        (["trainer.class_weights=balance"], "Did you mean 'balanced'"),
        (["pair.first.drop_path=1.5"], "drop_path=1.5: must be a probability"),
        (["network@pair.first=hcgnet_a1", "~pair.first.depths", "pair.first.drop_path=0.1"], "drop_path"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parts(*overrides)
    assert "\n" not in str(caught.value)


def test_forms_without_labels_take_mixed_images() -> None:
    assert parts("loss=kdcl", "loss.form=mean", "trainer.mixup=0.2").options.mixing.mixup == 0.2


def test_a_loss_that_does_not_declare_it_is_refused() -> None:
    options = TrainerOptions(epochs=1, batch_size=4, device="cpu", label_smoothing=0.1)
    with pytest.raises(UserError, match=r"label_smoothing=0.1: loss Loss does not declare .* self.classification"):
        set_targets(Loss(), options, Digits().spec)
    set_targets(Loss(), TrainerOptions(epochs=1, batch_size=4, device="cpu"), Digits().spec)
