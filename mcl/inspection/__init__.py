"""Inspect a folder of images before training: ``python -m mcl inspect``.

`inspect_images` reads and compares the images, and `findings` lists what to act on. `inspection_page`, `as_json`,
`as_csv` and `class_sheet` make files of both.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.inspection.inspection import Inspection, inspect_images
    from mcl.inspection.page import inspection_page
    from mcl.inspection.problems import Finding, findings
    from mcl.inspection.records import as_csv, as_json
    from mcl.inspection.sheet import class_sheet

__all__ = [
    "Finding",
    "Inspection",
    "as_csv",
    "as_json",
    "class_sheet",
    "findings",
    "inspect_images",
    "inspection_page",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "inspection": ["Inspection", "inspect_images"],
        "page": ["inspection_page"],
        "problems": ["Finding", "findings"],
        "records": ["as_csv", "as_json"],
        "sheet": ["class_sheet"],
    },
)
