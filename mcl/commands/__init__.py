"""The commands of ``python -m mcl``, one module each, and of ``python sweep.py``."""
