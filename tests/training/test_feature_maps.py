"""Losses that read feature maps: sizes that do not fit are found before training."""

import pytest

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.training.setup import assemble

DATA = ["dataset=synthetic", "dataset.image_size=16", "trainer.device=cpu", "tracking=none"]


def test_maps_of_different_sizes_are_refused() -> None:
    config = compose_train([*DATA, "loss=ffl", "pair=resnet8", "network@pair.second=shufflenetv2_05x"])
    with pytest.raises(UserError, match=r"^loss=ffl fuses .* their sizes differ: 4x4, 2x2\. Choose a pair="):
        assemble(config)


@pytest.mark.parametrize("loss", ["ffl", "one"])
def test_maps_of_one_size_are_accepted(loss: str) -> None:
    parts = assemble(compose_train([*DATA, f"loss={loss}", "pair=resnet8_x2_stem"]))
    assert parts.learner.loss.needs_maps
