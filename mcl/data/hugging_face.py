"""Image datasets of Hugging Face, as ``save_to_disk`` of their library ``datasets`` writes them."""

import functools
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mcl.data.augmentation import Augmentation
from mcl.data.contents import Contents, contents
from mcl.data.fingerprint import digest
from mcl.data.labelled_rows import Row, list_rows, sort_classes, split_name
from mcl.data.listed_files import ListedFiles
from mcl.data.listing import Listing
from mcl.errors import ImagesNotFound, UserError, did_you_mean
from mcl.extras import require

_LABELS = ("label", "labels", "class", "target", "fine_label")  # taken for the labels if no column is a ClassLabel


class HuggingFace(ListedFiles):
    """A dataset in the folder that ``dataset.save_to_disk(FOLDER)`` wrote. Nothing is downloaded.

    Its splits are train, validation (or val) and test. A dataset without splits, or with train alone, is split by
    ``test_fraction``; with train and validation alone, the latter is the test split. Without train, the images can be
    evaluated and not trained on. A test split without labels (-1) is left out. Images are named by split and row:
    ``train/12``.

    Args:
        root: the folder.
        image_column: column of the images; None for the only one of type ``Image``.
        label_column: column of the classes; None for the only one of type ``ClassLabel``, or else one that is named
            label, labels, class, target or fine_label. Values without names are sorted.

    The other arguments are those of :class:`mcl.data.listed_files.ListedFiles`.

    Raises:
        UserError: As in `ListedFiles`, or the package ``datasets`` is not installed.
    """

    root_means = "FOLDER, which save_to_disk of Hugging Face's datasets wrote"

    def __init__(
        self,
        root: str | None = None,
        name: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        channels: int = 3,
        image_size: int | None = None,
        test_fraction: float = 0.2,
        corrupt: Literal["stop", "skip"] = "stop",
        storage: Literal["auto", "memory", "disk"] = "auto",
        workers: int | None = None,
        cache_dir: str | None = None,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        require("hf", asked="dataset=hf")
        self.columns = (image_column, label_column)
        super().__init__(
            root=root,
            name=name,
            channels=channels,
            image_size=image_size,
            test_fraction=test_fraction,
            corrupt=corrupt,
            storage=storage,
            workers=workers,
            cache_dir=cache_dir,
            augmentation=augmentation,
            mean=mean,
            std=std,
            limit=limit,
            validation=validation,
            seed=seed,
        )

    def find_images(self, place: Path, *, test_fraction: float, seed: int) -> tuple[Path, Listing]:
        splits = _load(str(place))
        features = next(iter(splits.values())).features
        image = _image_column(place, features, self.columns[0])
        label = _label_column(place, features, self.columns[1])
        labels = {name: _labels(place, name, split, label) for name, split in splits.items()}
        if len(labels) > 1:
            labels = {name: values for name, values in labels.items() if set(values) != {None}}
        if set(labels) == {"train"}:
            labels = {"": labels["train"]}
        for name, values in labels.items():
            if None in values:
                raise UserError(f"{place}: row {values.index(None)} of {name or 'train'} has no label in {label}.")
        rows = [
            Row(os.path.join(name or "train", str(row)), str(value), name)
            for name, values in labels.items()
            for row, value in enumerate(values)
        ]
        names = getattr(features[label], "names", None) or sort_classes({row.label for row in rows})
        self.read = RowReader(str(place), image)
        self.labeling = [*sorted(rows), image]
        return place, list_rows(str(place), rows, classes=names, test_fraction=test_fraction, seed=seed)

    def hash_contents(self, paths: list[str]) -> Contents:
        """Hash the files of the dataset, whichever rows are asked for."""
        files = sorted(str(file.relative_to(self.root)) for file in self.root.rglob("*.arrow"))
        hashed = contents(self.root, files, self.cache_dir)
        return Contents([0] * len(paths), hashed.digest, (*hashed.key, digest([self.read, *paths])))


class RowReader:
    """Returns the encoded image in a row of a dataset, from a path that ends in ``split/row``. Can be pickled.

    Raises:
        ValueError: (when called) The row has no image, or names a file instead.
    """

    def __init__(self, folder: str, column: str):
        self.folder = folder
        self.column = column

    def __repr__(self) -> str:
        return f"RowReader({self.column!r})"

    def __call__(self, path: Path) -> io.BytesIO:
        value = _undecoded(self.folder, self.column, path.parts[-2])[int(path.parts[-1])][self.column]
        content = value and value["bytes"]
        if content is None:
            # A dataset from others could name any file here.
            raise ValueError("the row has no image, or names a file, which save_to_disk would have taken in")
        return io.BytesIO(content)


@functools.cache
def _load(folder: str) -> dict[str, Any]:
    """Return the splits of a dataset by name."""
    import datasets

    if not os.path.isdir(folder):
        raise ImagesNotFound(f"dataset.root={folder}: there is no such folder. Give one that save_to_disk has written.")
    try:
        loaded = datasets.load_from_disk(folder)
    except FileNotFoundError as error:
        raise UserError(
            f"dataset.root={folder}: not a dataset on disk. Write one by"
            " datasets.load_dataset(NAME).save_to_disk(FOLDER)."
        ) from error
    except Exception as error:  # damaged files raise many kinds
        raise UserError(f"dataset.root={folder}: cannot be read ({' '.join(str(error).split())}).") from error
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    splits = {name: split for given, split in loaded.items() if (name := split_name(given)) and len(split)}
    if not splits:
        raise UserError(
            f"dataset.root={folder}: has the splits {', '.join(loaded) or 'none'}, but none named train or test."
        )
    return splits


@functools.cache
def _undecoded(folder: str, column: str, split: str) -> Any:
    """Return a split whose images are given as they are stored."""
    import datasets

    return _load(folder)[split].select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _image_column(place: Path, features: Mapping[str, Any], named: str | None) -> str:
    images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if named is None and len(images) == 1:
        return images[0]
    if named in images:
        return str(named)
    given = f"dataset.image_column={named}" if named else "dataset.image_column is not set"
    raise UserError(
        f"{given}: {place} has {len(images)} columns of type Image{f' ({_list(images)})' if images else ''} among"
        f" {_list(features)}.{did_you_mean(named or '', images) if named else ''} Set dataset.image_column=NAME;"
        " a column of paths or bytes becomes one by dataset.cast_column(NAME, datasets.Image())."
    )


def _label_column(place: Path, features: Mapping[str, Any], named: str | None) -> str:
    labels = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    labels = labels or [name for name in _LABELS if name in features]
    if named is None and len(labels) == 1:
        return labels[0]
    if named in features:
        return str(named)
    given = f"dataset.label_column={named}" if named else "dataset.label_column is not set"
    which = f"may be {_list(labels)}" if labels else f"is none of {_list(features)} for certain"
    raise UserError(f"{given}: the classes' column of {place} {which}. Set dataset.label_column=NAME.")


def _labels(place: Path, split: str, rows: Any, column: str) -> list[str | None]:
    """Return the class of each row; None where there is none."""
    feature, values = rows.features.get(column), list(rows[column])
    names = getattr(feature, "names", None)
    if names:
        return [None if value is None or value < 0 else names[value] for value in values]
    odd = next((value for value in values if not isinstance(value, int | str | None)), None)
    if odd is not None:
        raise UserError(
            f"dataset.label_column={column}: {place} has {type(odd).__name__} values there in {split}, not texts or"
            " whole numbers. Set dataset.label_column=NAME."
        )
    return [None if value is None or value == -1 else str(value) for value in values]


def _list(names: Any) -> str:
    return ", ".join(map(str, names))
