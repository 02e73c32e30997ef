"""Read archives whose size when unpacked is known before anything is unpacked."""

import lzma
import re
import shutil
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

from mcl.errors import UserError
from mcl.untrusted.limits import (
    FREE_EXPANSION,
    MAX_ARCHIVE,
    MAX_ARCHIVE_MEMBERS,
    MAX_EXPANSION,
    MAX_MEMBERS,
    MAX_NETWORK,
    MAX_XZ_MEMORY,
    MIB,
)
from mcl.untrusted.regular_files import open_file
from mcl.untrusted.text import shorten

_SAFE_PATH = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[A-Za-z0-9_.,=+@ -]+(/[A-Za-z0-9_.,=+@ -]+)*")


class DamagedArchive(Exception):
    """The archive is damaged, or larger than allowed."""


def read_zip(path: Path) -> dict[str, bytes]:
    """Return the content of every file in a zip archive, by name.

    Raises:
        DamagedArchive: It cannot be read, has a member twice, or would grow beyond the limits.
        UserError, OSError: as `open_file` does.
    """
    try:
        with open_file(path, MAX_NETWORK) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_zip(members, path.stat().st_size)
            return {member.filename: archive.read(member) for member in members}
    except (UserError, OSError, DamagedArchive):
        raise
    except Exception as error:  # a damaged archive raises many kinds
        raise DamagedArchive(shorten(error)) from error


def unpack_tar(path: Path, folder: Path, names: Collection[str]) -> None:
    """Unpack the regular files of a tar archive, compressed by xz.

    Args:
        path: of the archive.
        folder: an empty one.
        names: the file names that are expected in it.

    Raises:
        DamagedArchive: It cannot be read, is too large, or holds something else.
        OSError: A file cannot be read or written.
    """
    plain = folder / ".tar"
    try:
        with open_file(path, MAX_ARCHIVE) as packed, open(plain, "xb") as unpacked:
            _decompress(packed, unpacked)
        with tarfile.open(plain, "r:") as archive:
            for count, member in enumerate(archive):
                if count >= MAX_ARCHIVE_MEMBERS:
                    raise DamagedArchive(f"more than {MAX_ARCHIVE_MEMBERS:,} files")
                place = PurePosixPath(member.name)
                if (
                    not member.isreg()
                    or member.issparse()
                    or place.name not in names
                    or not _SAFE_PATH.fullmatch(member.name)
                ):
                    raise DamagedArchive(f"{shorten(member.name)} is not a file of a run")
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None  # of a regular file
                with open(target, "xb") as file:
                    shutil.copyfileobj(content, file)
    except (OSError, DamagedArchive):
        raise
    except UserError as error:
        raise DamagedArchive(str(error)) from error
    except Exception as error:  # tarfile and lzma raise many kinds
        raise DamagedArchive(shorten(error)) from error
    finally:
        plain.unlink(missing_ok=True)


def _check_zip(members: list[zipfile.ZipInfo], packed: int) -> None:
    if len({member.filename for member in members}) < len(members) or len(members) > MAX_MEMBERS:
        raise DamagedArchive(f"a file twice, or more than {MAX_MEMBERS:,}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_EXPANSION * packed + FREE_EXPANSION:
        raise DamagedArchive(f"{packed:,} bytes would unpack to {unpacked:,}")


def _decompress(packed: IO[bytes], unpacked: IO[bytes]) -> None:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
    total = 0
    while not decoder.eof:
        content = packed.read(MIB) if decoder.needs_input else b""
        if decoder.needs_input and not content:
            raise DamagedArchive("it ends too early")
        content = decoder.decompress(content, max_length=MIB)
        total += len(content)
        if total > MAX_ARCHIVE:
            raise DamagedArchive(f"more than {MAX_ARCHIVE:,} bytes when unpacked")
        unpacked.write(content)
