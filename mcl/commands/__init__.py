"""The commands of ``python -m mcl``, one module each, and of ``python sweep.py``.

The package exports nothing: the entry points import the module of the command that was typed, so that no command waits
for the imports of another.
"""
