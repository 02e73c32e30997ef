"""Whole networks of the official codes, filled by rule: branches on a shared stem, and what the loss adds to them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_rule import filled, images

from mcl import build_network
from mcl.losses.ffl import FFL
from mcl.losses.pcl import PCL
from mcl.networks.cohort import Cohort

ARRAYS = np.load(Path(__file__).parents[2] / "golden" / "peers" / "networks.npz")
CLASSES = 5
STEM = {"0": "conv1", "1": "bn1"}
FUSION = {"depthwise": "conv1", "bn1": "bn1", "pointwise": "conv1_1", "bn2": "bn1_1", "classifier": "fc2"}


def official_key(method: str, key: str, branch: int) -> str:
    """Return the official name of a tensor of a branch, counted from 1."""
    part, _, rest = key.partition(".")
    index, _, inner = rest.partition(".")
    own = {"ffl": ("model.", f"layer3_{branch}", f"classfier3_{branch}")}
    own["pcl"] = ("", f"branch{branch}.layer", f"branch{branch}.fc")
    prefix, last_stage, classifier = own[method]
    if part == "stem":
        return f"{prefix}{STEM[index]}.{inner}"
    if part == "head":
        return f"{prefix}{classifier}.{rest.rpartition('.')[2]}"
    return f"{prefix}{last_stage if index == '2' else f'layer{int(index) + 1}'}.{inner}"


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("method", "branches"), [("ffl", 2), ("pcl", 3)])
def test_logits_of_the_official_network(close, method, branches, mode):
    salt = f"peers-{method}-"
    factories = {f"n{i}": lambda: build_network("resnet8", CLASSES) for i in range(1, branches + 1)}
    cohort = Cohort(factories, branched=False, seed=0, shared_stages=2, maps=method == "ffl").double()
    for i, backbone in enumerate(cohort.backbones, 1):
        weights = {key: filled(salt, official_key(method, key, i), x.shape) for key, x in backbone.state_dict().items()}
        backbone.load_state_dict(weights)
    loss = {"ffl": FFL, "pcl": PCL}[method](shapes=cohort.shapes()).double()
    module, names = (loss.fusion, FUSION) if method == "ffl" else (loss.classifier, {})
    prefix = "fusion" if method == "ffl" else "en_fc"
    state = {}
    for key, tensor in module.state_dict().items():
        part, _, last = key.partition(".")
        name = f"{prefix}.{names[part]}.{last}" if method == "ffl" else f"{prefix}.{key}"
        state[key] = filled(salt, name, tensor.shape)
    module.load_state_dict(state)
    cohort.train(mode == "train")
    loss.train(mode == "train")
    views = images("peers-B-input", (3, 2, 3, 32, 32))
    outputs = cohort(views if method == "pcl" else views[0])
    joint = loss.ensemble(outputs) if method == "ffl" else loss.joint_logits(outputs)
    logits = torch.stack([*(network.logits[-1] for network in outputs), joint])
    close(logits, torch.from_numpy(ARRAYS[f"{method}.{mode}"]))
