"""Options whose values have names: also from Python, where no configuration is checked."""

from typing import Any

import pytest

from mcl.data.folder import Folder
from mcl.data.imagenet import ImageNet
from mcl.errors import UserError
from mcl.training.options import TrainerOptions

LENGTH = {"epochs": 1, "batch_size": 2}


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (Folder, {"root": "photos", "storage": "dsk"}, "dataset.storage=dsk: .* auto, memory, disk.* mean 'disk'"),
        (Folder, {"root": "photos", "corrupt": "leave"}, "dataset.corrupt=leave: .* stop, skip"),
        (Folder, {"root": "photos", "decode": "cuda"}, "dataset.decode=cuda: .* cpu, gpu"),
        (ImageNet, {"root": "images", "corrupt": "leave"}, "dataset.corrupt=leave: .* stop, skip"),
        (TrainerOptions, LENGTH | {"precision": "bf16"}, "trainer.precision=bf16: .* mean 'bfloat16'"),
        (TrainerOptions, LENGTH | {"capture": "on"}, "trainer.capture=on: .* auto, off"),
        (TrainerOptions, LENGTH | {"views": "own"}, "trainer.views=own: .* shared, separate"),
    ],
)
def test_unknown_values_are_refused_with_those_that_there_are(
    part: type[object], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        part(**options)
