"""Helpers for tests of image folders: reference pixels and the message of an error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcl.data.folder import Folder
from mcl.errors import UserError


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def error_of(**options) -> str:
    """Return the message of the UserError that a folder with these options raises."""
    with pytest.raises(UserError) as error:
        Folder(**options).load()
    return str(error.value)
