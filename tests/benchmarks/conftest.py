"""The programs of benchmarks/ import each other by name, so their folder is on the path of their tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
