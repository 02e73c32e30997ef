"""Read every file of an inspected folder once, in threads."""

import warnings
from dataclasses import dataclass

from mcl.data.in_threads import in_threads
from mcl.inspection.inspected_files import InspectedFiles
from mcl.inspection.picture_facts import PictureFacts, picture_facts
from mcl.untrusted.limits import MAX_IMAGE
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import printable


@dataclass(frozen=True)
class Scan:
    """Facts of the files that could be read, and the reasons of the others, by position."""

    pictures: dict[int, PictureFacts]
    unreadable: dict[int, str]


def scan(files: InspectedFiles) -> Scan:
    """Read all files. A file of too many bytes or pixels, a pipe or a device is not read, and counts as unreadable."""

    def read(position: int) -> PictureFacts | str:
        try:
            return picture_facts(read_bytes(files.root / files.paths[position], MAX_IMAGE))
        except OSError as error:
            return error.strerror or printable(error)
        except Exception as error:  # a damaged file can raise anything, and MemoryError
            return printable(" ".join(str(error).split())) or type(error).__name__

    pictures: dict[int, PictureFacts] = {}
    unreadable: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about large images and odd EXIF data, without the file's name
        for results in in_threads(read, len(files.paths), f"Reading the images of {printable(files.root.name)}"):
            for position, result in results.items():
                if isinstance(result, str):
                    unreadable[position] = result
                else:
                    pictures[position] = result
    return Scan(dict(sorted(pictures.items())), dict(sorted(unreadable.items())))
