"""The commands of ``python -m mcl``, one module each."""
