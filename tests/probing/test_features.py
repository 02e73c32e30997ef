"""Features of frozen networks: what the classifier gets, for images of any size and number of channels."""

import torch

import mcl
from mcl.data.dataset import Images
from mcl.data.preprocessing import Preprocessing
from mcl.probing.features import extract, fit_pixels, pooled_features

PREPROCESSING = Preprocessing(3, 8, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def images(channels: int, side: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (7, channels, side, side), generator=rng, dtype=torch.uint8)


def test_features_are_what_the_classifier_gets_and_nothing_of_the_network_changes() -> None:
    network = mcl.build_network("resnet8", 4).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    split = Images(images(3, 8), torch.arange(7) % 4)
    features = extract({"first": network}, split, PREPROCESSING, batch_size=3, device=torch.device("cpu"))
    assert features.labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    logits = network.head.classifier(features.by_network["first"])
    torch.testing.assert_close(logits, network(PREPROCESSING.normalize(split.images)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not features.by_network["first"].requires_grad


def test_other_sizes_and_channels_are_converted() -> None:
    assert torch.equal(fit_pixels(images(3, 8), PREPROCESSING), images(3, 8))
    gray = fit_pixels(images(1, 8), PREPROCESSING)
    assert torch.equal(gray, images(1, 8).expand(-1, 3, -1, -1))
    small = fit_pixels(images(3, 16), PREPROCESSING)
    assert (small.shape, small.dtype) == ((7, 3, 8, 8), torch.uint8)
    assert abs(float(small.float().mean() - images(3, 16).float().mean())) < 1
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    assert fit_pixels(red, Preprocessing(1, 8, (0.5,), (0.2,))).unique().tolist() == [76]  # Pillow: round(0.299 * 255)


def test_pooled_features_have_the_width_of_the_network() -> None:
    network = mcl.build_network("shufflenetv2_1x", 4).eval()
    assert pooled_features(network, torch.zeros(2, 3, 32, 32)).shape == (2, network.width)
