"""Training images decoded on the device: the crops of the workers, and their rules for damaged files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mcl.benchmarking.pixel_differences import pixel_difference
from mcl.data import device_decoding, loaders
from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Splits
from mcl.data.device_decoding import crop_and_resize, decode_batch
from mcl.data.disk_loader import DiskLoader
from mcl.data.encoded import Encode, Encoded, EncodedBatch, pack
from mcl.data.epoch_plan import plan_epoch
from mcl.data.folder import Folder
from mcl.data.image_files import CenterSquare, ImageFiles, TransformPipeline, as_bytes
from mcl.data.imagenet import ImageNet
from mcl.data.loaders import TrainingLoader
from mcl.data.placement import DeviceCrop, RandomPlacement, center_square
from mcl.data.samplers import Shuffle
from mcl.distributed.sharding import NO_SHARDING
from mcl.errors import UserError

CPU = torch.device("cpu")
TRANSFORMS = (v2.RandomResizedCrop(16), v2.RandomHorizontalFlip())
SIZES = [(20, 30), (33, 17), (16, 16), (40, 40), (24, 25), (31, 64)]
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def picture(width: int, height: int, seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Make 12 JPEG files of two classes and of several sizes, cropped at random to 16 x 16 by the device."""
    for i in range(12):
        picture(*SIZES[i % len(SIZES)], seed=i).save(tmp_path / f"{i:02}.jpg", quality=95)
    labels = torch.arange(2).repeat_interleave(6)
    paths = as_bytes([f"{i:02}.jpg" for i in range(12)])
    crop = DeviceCrop(RandomPlacement(TRANSFORMS, 16), 16, 3)
    decode = TransformPipeline(TRANSFORMS, 16, 3)
    return ImageFiles(tmp_path, paths, labels, decode, skip=False, workers=0, device_crop=crop)


def changed(files: ImageFiles, **options: Any) -> ImageFiles:
    return ImageFiles(**{**vars(files), **options})


def epoch(files: ImageFiles, device: torch.device = CPU) -> list[tuple[torch.Tensor, ...]]:
    plan = plan_epoch(Shuffle(), Augmentation(), files.labels, 4, NO_SHARDING, seed=1, epoch=0)
    return list(DiskLoader(files, device, seed=1).follow(plan, 0))


@pytest.mark.parametrize("workers", [0, 1])
def test_same_crops_and_flips_as_the_workers_make(files: ImageFiles, workers: int) -> None:
    on_device = epoch(changed(files, workers=workers))
    for ours, theirs in zip(on_device, epoch(changed(files, device_crop=None)), strict=True):
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2])
        difference = (ours[0].int() - theirs[0].int()).abs()
        assert difference.max() <= 1, "a rounding of one level"
        assert (difference > 0).float().mean() < 0.1


def decoded(files: ImageFiles, *positions: int) -> torch.Tensor:
    assert files.device_crop is not None
    batch = pack([Encode(files.decode, files.device_crop)(files.path(i)) for i in positions])
    assert isinstance(batch, EncodedBatch)
    images, failed = decode_batch(batch, files.device_crop, CPU)
    assert not failed
    return images


def test_image_of_the_right_size_is_exact(files: ImageFiles) -> None:
    square = changed(files, decode=CenterSquare(16, 3), device_crop=DeviceCrop(center_square, 16, 3))
    assert torch.equal(decoded(square, 2)[0], torch.from_numpy(CenterSquare(16, 3)(files.path(2)).copy()))


def test_crops_without_resizing_and_flips_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in ((9, 12), (15, 8))]
    boxes = torch.tensor([[3.0, 1.0, 11.0, 9.0], [0.0, 5.0, 8.0, 13.0]], dtype=torch.float64)
    cut = crop_and_resize(images, boxes, boxes, torch.tensor([False, True]), 8)
    assert torch.equal(cut[0], images[0][:, 1:9, 3:11])
    assert torch.equal(cut[1], images[1][:, 5:13, 0:8].flip(-1))


def test_center_square_is_that_of_pillow(files: ImageFiles) -> None:
    square = changed(files, decode=CenterSquare(12, 3), device_crop=DeviceCrop(center_square, 12, 3))
    for position in range(6):  # none is so large that Pillow decodes a smaller one
        expected = torch.from_numpy(CenterSquare(12, 3)(files.path(position)).copy())
        if min(SIZES[position]) <= 2 * 12:
            assert (decoded(square, position)[0].int() - expected.int()).abs().max() <= 1


def test_large_batches_are_decoded_in_parts(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [images for images, *_ in epoch(files)]
    monkeypatch.setattr(device_decoding, "LARGEST", 3 * 4 * 40 * 40)
    for images, expected in zip(epoch(files), whole, strict=True):
        assert torch.equal(images[0], expected)


def test_other_files_are_decoded_by_the_workers(files: ImageFiles, tmp_path: Path) -> None:
    picture(20, 30, 0).save(tmp_path / "00.jpg", format="PNG")
    turned = picture(20, 30, 1)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "01.jpg", exif=exif)
    picture(20, 30, 2).convert("CMYK").save(tmp_path / "02.jpg")
    picture(20, 30, 3).convert("L").save(tmp_path / "03.jpg")
    assert files.device_crop is not None
    encode = Encode(files.decode, files.device_crop)
    assert [isinstance(encode(files.path(i)), Encoded) for i in range(5)] == [False, False, False, True, True]
    mixed = [images for images, *_ in epoch(files)]
    plain = [images for images, *_ in epoch(changed(files, device_crop=None))]
    assert all((a.int() - b.int()).abs().max() <= 1 for a, b in zip(mixed, plain, strict=True))


def test_image_that_the_device_cannot_decode_is_decoded_on_the_cpu(
    files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = device_decoding.decode_jpegs

    def fails_once(contents: Any, *arguments: Any) -> list[Any]:
        return [None, *decode(contents[1:], *arguments)]

    expected = [images for images, *_ in epoch(changed(files, device_crop=None))]
    monkeypatch.setattr(device_decoding, "decode_jpegs", fails_once)
    for (images, *_), theirs in zip(epoch(files), expected, strict=True):
        assert torch.equal(images[0], theirs[0]), "the very pixels of the CPU"


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["worker notices", "device notices"])
def test_damaged_files_stop_or_are_replaced_as_by_the_workers(
    files: ImageFiles, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    files.path(3).write_bytes(files.path(3).read_bytes()[:300] + end)  # its header is intact
    files.path(7).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"Cannot read .*dataset\.corrupt=skip"):
        epoch(files)
    both = [epoch(changed(files, skip=True, device_crop=crop)) for crop in (files.device_crop, None)]
    for ours, theirs in zip(*both, strict=True):
        assert torch.equal(ours[2], theirs[2])
        assert torch.equal(ours[1], theirs[1])
    assert caplog.text.count("epoch 1: replaced 2 unreadable files") == 2


def test_evaluation_is_decoded_by_the_workers(files: ImageFiles) -> None:
    plain = CenterSquare(16, 3, 20)
    evaluated = changed(files, decode_plainly=plain).for_evaluation()
    (images, *_), *_ = DiskLoader(evaluated, CPU).in_order(range(4), 4)
    assert torch.equal(images, torch.stack([torch.from_numpy(plain(files.path(i)).copy()) for i in range(4)]))


def test_training_needs_a_gpu_and_one_view(files: ImageFiles) -> None:
    dataset: Any = type("Data", (), {"augmentation": Augmentation(), "mean": (0.5,) * 3, "std": (0.5,) * 3})
    with pytest.raises(UserError, match=r"^dataset\.decode=gpu: training runs on cpu\. Use dataset\.decode=cpu\.$"):
        TrainingLoader(files, dataset, Shuffle(), batch_size=4, seed=0)
    with pytest.raises(UserError, match=r"one view of each image, and trainer\.views asks for 2"):
        loaders._check_device_decoding(torch.device("cuda"), views=2)


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ((), "dataset.transform is empty"),
        ((v2.RandomHorizontalFlip(), v2.RandomResizedCrop(16)), "is RandomHorizontalFlip, RandomResizedCrop"),
        ((v2.RandomResizedCrop(16), v2.ColorJitter()), "is RandomResizedCrop, ColorJitter"),
        ((v2.RandomResizedCrop(8),), "bilinear, of size 16"),
        ((v2.RandomResizedCrop(16, interpolation=v2.InterpolationMode.NEAREST),), "bilinear, of size 16"),
    ],
)
def test_other_transforms_are_refused(transforms: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RandomPlacement(transforms, 16)


def test_datasets_leave_the_training_split_to_the_device(make_tree: Callable[..., Path]) -> None:
    root = make_tree(splits=("train", "val"))
    folder = Folder(str(root), decode="gpu", workers=0, validation=0.2)
    imagenet = ImageNet(str(root), TRANSFORMS, 16, 20, partial=True, decode="gpu", workers=0, validation=0.2)

    def on_device(splits: Splits) -> list[bool]:
        return [isinstance(split, ImageFiles) and split.device_crop is not None for split in splits]

    assert on_device(folder.load()) == on_device(imagenet.load()) == [True, False, False]
    assert on_device(Folder(str(root), storage="disk").load()) == [False] * 3
    for options in ({"decode": "nvjpeg"}, {"decode": "gpu", "storage": "memory"}):
        with pytest.raises(UserError, match=r"dataset\.decode="):
            Folder(str(root), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_pixels_differ_little(files: ImageFiles, device: str) -> None:
    found = pixel_difference(files, torch.device(device))
    assert found is not None
    assert found["images"] == 12
    assert found["mean"] < (0.1 if device == "cpu" else 3.0)  # of 255: nvJPEG is no bitwise copy of libjpeg
    assert pixel_difference(changed(files, device_crop=None), torch.device(device)) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_moved_ahead_on_a_gpu_are_those_of_the_cpu(files: ImageFiles, workers: int) -> None:
    plain, gpu = changed(files, device_crop=None, workers=workers), torch.device("cuda")
    for ours, theirs in zip(epoch(plain, gpu), epoch(plain), strict=True):
        assert all(torch.equal(a.cpu(), b) for a, b in zip(ours, theirs, strict=True))
    for ours, theirs in zip(epoch(changed(files, workers=workers), gpu), epoch(plain), strict=True):
        assert all(torch.equal(a.cpu(), b) for a, b in zip(ours[1:], theirs[1:], strict=True))
        assert (ours[0].cpu().int() - theirs[0].int()).abs().float().mean() < 3.0
