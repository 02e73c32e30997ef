"""A folder of images as a dataset."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Splits
from mcl.data.image_files import ImageFiles
from mcl.data.listed_files import ListedFiles
from mcl.data.listing import Listing, list_folder, nested_folders, unused_splits
from mcl.data.placement import DeviceCrop, center_square
from mcl.errors import UserError, check_choice


class Folder(ListedFiles):
    """Images in class folders, in one of the layouts of :func:`mcl.data.listing.list_folder`.

    Args:
        root: the folder.
        class_folder: the folder that names the class of an image: the ``first`` on the way to it, or the ``last``,
            which contains it.
        decode: ``gpu`` decodes and crops training images on the GPU that trains. They stay on disk; pixels differ a
            little. Files that are not JPEG, and all test images, are decoded by the workers, as with ``cpu``.

    The other arguments are those of :class:`mcl.data.listed_files.ListedFiles`.

    Raises:
        UserError: As in `ListedFiles`, or ``class_folder`` or ``decode`` is not one of its choices, or ``decode=gpu``
            is given with ``storage=memory``.
    """

    lists_classes = True
    root_means = "FOLDER, the folder of your images"

    def __init__(
        self,
        root: str | None = None,
        name: str | None = None,
        channels: int = 3,
        image_size: int | None = None,
        class_folder: Literal["first", "last"] = "first",
        test_fraction: float = 0.2,
        corrupt: Literal["stop", "skip"] = "stop",
        storage: Literal["auto", "memory", "disk"] = "auto",
        workers: int | None = None,
        decode: Literal["cpu", "gpu"] = "cpu",
        cache_dir: str | None = None,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        check_choice("dataset.class_folder", class_folder, ("first", "last"))
        check_choice("dataset.decode", decode, ("cpu", "gpu"))
        if decode == "gpu" and storage == "memory":
            raise UserError(
                "dataset.storage=memory decodes once, before training: use dataset.decode=cpu, or dataset.storage=disk."
            )
        self.class_folder = class_folder
        self.decode = decode
        super().__init__(
            root=root,
            name=name,
            channels=channels,
            image_size=image_size,
            test_fraction=test_fraction,
            corrupt=corrupt,
            storage="disk" if decode == "gpu" else storage,
            workers=workers,
            cache_dir=cache_dir,
            augmentation=augmentation,
            mean=mean,
            std=std,
            limit=limit,
            validation=validation,
            seed=seed,
        )
        self.notes = unused_splits(self.root, self.listing)
        if class_folder == "first":
            self.notes += nested_folders(self.root, self.listing)

    def find_images(self, place: Path, *, test_fraction: float, seed: int) -> tuple[Path, Listing]:
        last = self.class_folder == "last"
        return place, list_folder(place, test_fraction=test_fraction, seed=seed, last=last)

    def load(self) -> Splits:
        splits = super().load()
        if self.decode == "cpu" or not isinstance(splits.train, ImageFiles):
            return splits
        crop = DeviceCrop(center_square, self.spec.image_size, self.spec.channels)
        return splits._replace(train=replace(splits.train, device_crop=crop))
