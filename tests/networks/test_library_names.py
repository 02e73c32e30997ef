"""Names of models are read from the libraries' source, without importing them."""

import subprocess
import sys

import pytest

from mcl import extras
from mcl.errors import UserError
from mcl.networks.library_names import libraries_with, model_names, node_of


def test_names_are_those_that_the_libraries_list() -> None:
    import timm
    from torchvision import models

    assert model_names("timm") == sorted(timm.list_models())
    assert model_names("torchvision") == sorted(models.list_models(module=models))


def test_names_are_read_without_the_libraries() -> None:
    code = (
        "import sys; from mcl.networks.library_names import node_of; node_of('timm/resnet18');"
        " print({'torch', 'timm'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_other_networks_are_no_models_of_libraries() -> None:
    assert node_of("resnet8") is None
    assert node_of("imagenet/resnet18") is None
    assert libraries_with("resnet18") == ["timm/resnet18", "torchvision/resnet18"]


def test_missing_timm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=r"network timm/resnet18: needs timm. Install it with: pip install 'timm"):
        node_of("timm/resnet18")
