"""mixup and CutMix: pairs, shares and pixels."""

import pytest
import torch
from torchvision.transforms import v2

from mcl.data.loaders import TrainingLoader
from mcl.data.mixing import Mixing
from mcl.data.samplers import ClassBalanced, Shuffle
from mcl.data.synthetic import Synthetic
from mcl.errors import UserError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_pair_is_mixed_as_torchvision_mixes_it(kind: str) -> None:
    images, labels = torch.randn(2, 3, 16, 16, generator=rng()), torch.tensor([3, 1])
    compared = 0
    for seed in range(60):
        mixing = Mixing(**{kind: 1.0})
        draws = mixing.draw(2, rng(seed))
        mixed, other = mixing.apply(images, labels, draws)
        assert torch.equal(other.labels, labels.flip(0))
        assert (other.share >= 0.5).all()
        share = float(draws[0, 0])
        if kind == "mixup":
            reference, parameters = v2.MixUp(num_classes=5), {"lam": share}
        else:
            patch = (mixed[0] != images[0]).all(0).nonzero()
            if not len(patch):
                continue
            (top, left), (bottom, right) = patch.amin(0).tolist(), (patch.amax(0) + 1).tolist()
            lam = float(1 - torch.tensor((bottom - top) * (right - left) / 256))
            reference, parameters = v2.CutMix(num_classes=5), {"box": (left, top, right, bottom), "lam_adjusted": lam}
            x, y = float(draws[0, 2]) * 16, float(draws[0, 3]) * 16
            assert left <= x <= right + 1
            assert top <= y <= bottom + 1
            assert float(other.share[0]) == pytest.approx(lam, abs=1e-6)
        parameters |= {"labels": labels, "batch_size": 2}
        torch.testing.assert_close(mixed[0], reference.transform(images, parameters)[0])
        compared += 1
    assert compared > 40


def test_both_kinds_take_half_of_the_images_each() -> None:
    draws = Mixing(0.2, 1.0).draw(4000, rng())
    assert float(draws[:, 1].mean()) == pytest.approx(0.5, abs=0.03)
    assert float(draws[draws[:, 1] == 1, 0].mean()) == pytest.approx(0.75, abs=0.02)  # uniform, folded to above a half
    assert float(draws[draws[:, 1] == 0, 0].mean()) > 0.9  # Beta(0.2, 0.2) is near 0 and 1
    assert (Mixing(mixup=0.2).draw(100, rng())[:, 1] == 0).all()
    assert (Mixing(cutmix=1.0).draw(100, rng())[:, 1] == 1).all()


def test_views_of_an_image_are_mixed_alike() -> None:
    images, mixing = torch.randn(3, 8, 1, 4, 4, generator=rng()), Mixing(0.5, 1.0)
    draws, labels = mixing.draw(8, rng()), torch.arange(8)
    mixed, _ = mixing.apply(images, labels, draws)
    for view, one in zip(images, mixed, strict=True):
        assert torch.equal(mixing.apply(view, labels, draws)[0], one)


def test_pairs_are_random_even_if_the_sampler_puts_classes_together() -> None:
    dataset = Synthetic(classes=4, image_size=4, train_per_class=64, test_per_class=1)
    loader = TrainingLoader(
        dataset.load().train, dataset, ClassBalanced(), batch_size=64, seed=0, mixing=Mixing(mixup=1.0)
    )
    same = [(batch.labels == batch.mixed.labels).float().mean() for batch in loader.epoch(0) if batch.mixed]
    assert len(same) == 4
    assert 0.1 < float(torch.stack(same).mean()) < 0.4  # of 64 images, 15 of 63 others are of the class


def test_a_smaller_last_batch_is_not_mixed() -> None:
    dataset = Synthetic(classes=3, image_size=4, train_per_class=5, test_per_class=1)
    loader = TrainingLoader(dataset.load().train, dataset, Shuffle(), batch_size=6, seed=0, mixing=Mixing(mixup=1.0))
    assert [batch.mixed is not None for batch in loader.epoch(0)] == [True, True, False]


@pytest.mark.parametrize(("batch_size", "processes"), [(7, 1), (6, 2)])
def test_a_process_without_pairs_is_refused(batch_size: int, processes: int) -> None:
    with pytest.raises(UserError, match=f"must be a multiple of {2 * processes}"):
        Mixing(mixup=1.0).check(batch_size, processes)
    Mixing().check(batch_size, processes)


def test_negative_parameters_are_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.cutmix=-1: must not be negative"):
        Mixing(cutmix=-1)
