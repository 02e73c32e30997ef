"""Imports point down: the code keeps to the floors of docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = [  # from the ground up; a room imports from lower floors, and from rooms of its own floor without a circle
    {"accelerators", "errors", "types", "extras", "lazy", "version", "allocator", "double_backward", "signals"},
    {"files", "console", "devices", "distributed", "meta", "palette", "untrusted"},
    {"runs", "networks", "losses", "data"},
    {"tracking", "config"},
    {"training", "launching"},
    {"studies", "deploy", "benchmarking", "reference"},
    {"reports"},
    {"commands", "__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
APART = ("networks", "losses", "data", "tracking", "config")  # none of the first three imports another of these


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield ``(room, file, imported room)`` for every import inside ``mcl``, including imports in functions."""
    for file in sorted((ROOT / "mcl").rglob("*.py")):
        path = file.relative_to(ROOT).with_suffix("")
        room = room_of(".".join(path.parts))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mcl":
                names = [f"mcl.{alias.name}" for alias in node.names] if node.module == "mcl" else [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] == "mcl"]
            else:
                continue
            yield from ((room, str(path), room_of(name)) for name in names if room_of(name) in FLOOR_OF)


def test_every_room_has_a_floor() -> None:
    rooms = {file.relative_to(ROOT / "mcl").parts[0].removesuffix(".py") for file in (ROOT / "mcl").rglob("*.py")}
    assert rooms - {"__init__"} == set(FLOOR_OF)


def test_imports_never_point_up() -> None:
    upward = [
        f"{file} ({room}) imports {other}"
        for room, file, other in imports()
        if room in FLOOR_OF and FLOOR_OF[other] > FLOOR_OF[room]
    ]
    assert upward == []


def test_no_two_rooms_import_each_other() -> None:
    arrows = {(room, other) for room, _, other in imports() if room != other}
    assert [pair for pair in sorted(arrows) if pair[::-1] in arrows] == []


def test_networks_losses_and_data_know_nothing_of_each_other_nor_of_configuration() -> None:
    upward = [
        f"{file} imports {other}"
        for room, file, other in imports()
        if room in APART[:3] and other in APART and other != room
    ]
    assert upward == []
