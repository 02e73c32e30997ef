"""Contact sheets: rows of small pictures in one PNG."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from mcl.data.decoding import open_image
from mcl.inspection.inspection import Inspection
from mcl.untrusted.limits import MAX_IMAGE
from mcl.untrusted.regular_files import read_bytes

SIDE, GAP, LABEL = 72, 4, 14  # pixels: of a small picture, between them, of the text above a row
PER_CLASS, ROWS = 8, 40  # pictures in a row, and rows, at most
_BACKGROUND, _INK, _LETTERS = "#f2f2f2", "#1c1f23", 90


def class_sheet(inspection: Inspection) -> bytes:
    """Return a PNG with a few pictures of each class, evenly chosen; of many classes, the first `ROWS`."""
    members: dict[str, list[int]] = {}
    for i in inspection.scan.pictures:
        members.setdefault(inspection.files.classes[i], []).append(i)
    rows: dict[str, list[str]] = {}
    for name in sorted(members)[:ROWS]:
        step = max(1, len(members[name]) // PER_CLASS)
        rows[name] = [inspection.files.paths[i] for i in members[name][::step][:PER_CLASS]]
    return sheet(inspection.files.root, rows)


def sheet(root: Path, rows: Mapping[str, Sequence[str]]) -> bytes:
    """Return a PNG with a row of small pictures below each label.

    Args:
        root: folder that the paths start from.
        rows: label -> paths.
    """
    height = LABEL + SIDE + GAP
    columns = max(len(paths) for paths in rows.values())
    canvas = Image.new("RGB", (max(columns, PER_CLASS) * (SIDE + GAP) + GAP, len(rows) * height + GAP), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for row, (label, paths) in enumerate(rows.items()):
        top = GAP + row * height
        # The built-in font has few letters beyond ASCII.
        draw.text((GAP, top), label[:_LETTERS].encode("ascii", "replace").decode(), fill=_INK)
        for column, path in enumerate(paths):
            image = open_image(io.BytesIO(read_bytes(root / path, MAX_IMAGE)), 3, draft=2 * SIDE)
            scale = SIDE / max(image.size)
            image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
            left = GAP + column * (SIDE + GAP)
            canvas.paste(image, (left + (SIDE - image.width) // 2, top + LABEL + (SIDE - image.height) // 2))
    content = io.BytesIO()
    canvas.save(content, "PNG", optimize=True)
    return content.getvalue()
