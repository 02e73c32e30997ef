"""conf/network and conf/pair: every file builds, and an unknown name raises an error with similar ones."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import mcl
from mcl.config.build_network import network_names
from mcl.config.conf_folder import conf_folder
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.branches import Network
from mcl.runs.pair import networks_of

PAIRS = sorted(
    file.relative_to(conf_folder() / "pair").as_posix()[:-5] for file in conf_folder().glob("pair/**/*.yaml")
)
HOMOGENEOUS = (
    "resnet32 resnet56 resnet110 wrn_16_2 wrn_40_2 wrn_28_4 shufflenetv2_05x shufflenetv2_1x hcgnet_a1 hcgnet_a2"
)
HETEROGENEOUS = (
    "resnet32-resnet110 resnet56-resnet110 wrn_16_2-wrn_40_2 wrn_40_2-wrn_28_4 resnet56-wrn_40_2 resnet110-wrn_28_4"
    " shufflenetv2_1x-resnet110 shufflenetv2_1x-wrn_40_2"
)
IMAGENET = (
    "imagenet/resnet18 imagenet/resnet34 imagenet/resnet50 imagenet/shufflenetv2_1x imagenet/resnet18-shufflenetv2_1x"
    " imagenet/shufflenetv2_1x-resnet50 imagenet/resnet18-resnet50"
)


@pytest.mark.parametrize("name", network_names())
def test_every_network_file_builds_under_its_own_name(name: str) -> None:
    backbone = mcl.build_network(name, 7, in_channels=1)
    assert isinstance(backbone, Backbone)
    assert (backbone.name, backbone.num_classes, backbone.in_channels) == (name, 7, 1)
    options = OmegaConf.load(conf_folder() / "network" / f"{name}.yaml")
    assert "num_classes" not in options  # these two follow from the data
    assert "in_channels" not in options


def test_network_is_built_with_branches_on_request() -> None:
    assert isinstance(mcl.build_network("resnet8", 7, branches=True), Network)


def test_error_for_unknown_network_suggests_near_names() -> None:
    with pytest.raises(UserError, match=r"resnet_32.*Did you mean 'resnet32'"):
        mcl.build_network("resnet_32", 10)
    with pytest.raises(UserError, match=r"Known: .*resnet8"):
        mcl.build_network("xyz", 10)


def test_every_published_pair_has_a_file() -> None:
    assert set(HOMOGENEOUS.split() + HETEROGENEOUS.split() + IMAGENET.split()) <= set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_names_its_networks_in_order(name: str) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        pair = compose(overrides=[f"+pair={name}"]).pair
    networks = networks_of(pair)
    chosen = [network.name for network in networks.values()]
    if name.endswith("single"):
        assert list(networks) == ["first"]
    else:
        folder, _, names = name.rpartition("/")
        one, _, number = names.removesuffix("_stem").rpartition("_x")
        ends = [one] * int(number) if one else names.split("-") if "-" in names else [names, names]
        assert list(networks) == ["first", "second", "third", "fourth"][: len(ends)]
        assert pair.get("shared_stages", 0) == (2 if name.endswith("_stem") else 0)
        assert chosen == ([f"{folder}/{end}" for end in ends] if folder else ends)


def test_one_network_of_a_pair_can_be_exchanged() -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        pair = compose(overrides=["+pair=resnet8", "network@pair.second=wrn_16_2"]).pair
    assert [network.name for network in pair.values()] == ["resnet8", "wrn_16_2"]


def test_importing_the_package_does_not_import_torch() -> None:
    subprocess.run([sys.executable, "-c", "import mcl, sys; assert 'torch' not in sys.modules"], check=True)


def test_package_refuses_unknown_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'build_netwrok'"):
        mcl.build_netwrok  # noqa: B018
