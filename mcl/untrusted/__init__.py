"""The one door for files that somebody may have sent: run folders, checkpoints, exported files, bundles, archives.

Every reader of such a file goes through this package, which limits size, depth and expansion before anything is
parsed, and refuses whatever could act: pickled code, links out of the folder, special files. docs/security.md states
what is trusted, what is not, and the limits. tests/security/test_one_door.py finds readers that go past the door.

`open_file`, `read_bytes` and `refuse_outside_links` read a folder, `read_zip` and `unpack_tar` archives,
`load_safetensors`, `load_state`, `load_state_file` and `load_onnx` tensors, `decode_json` and `decode_yaml` text.
`printable` and `shorten` make text fit to show. `mcl.untrusted.limits` has the limits.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.untrusted.archives import DamagedArchive, read_zip, unpack_tar
    from mcl.untrusted.damage import refuse_damaged
    from mcl.untrusted.regular_files import open_file, read_bytes, refuse_outside_links
    from mcl.untrusted.spreadsheet import without_formulas
    from mcl.untrusted.tensors import load_onnx, load_safetensors, load_state, load_state_file
    from mcl.untrusted.text import decode_json, decode_yaml, on_terminal, printable, shorten

__all__ = [
    "DamagedArchive",
    "decode_json",
    "decode_yaml",
    "load_onnx",
    "load_safetensors",
    "load_state",
    "load_state_file",
    "on_terminal",
    "open_file",
    "printable",
    "read_bytes",
    "read_zip",
    "refuse_damaged",
    "refuse_outside_links",
    "shorten",
    "unpack_tar",
    "without_formulas",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "archives": ["DamagedArchive", "read_zip", "unpack_tar"],
        "damage": ["refuse_damaged"],
        "regular_files": ["open_file", "read_bytes", "refuse_outside_links"],
        "spreadsheet": ["without_formulas"],
        "tensors": ["load_onnx", "load_safetensors", "load_state", "load_state_file"],
        "text": ["decode_json", "decode_yaml", "on_terminal", "printable", "shorten"],
    },
)
