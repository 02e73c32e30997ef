"""What is done with a run once it has been trained: judge it, take its networks along, pass it on.

Nothing found in a run folder, a bundle or an exported file is trusted: weights are read as tensors and plain values,
and what its configuration names is built only where it lies in the packages that `mcl.config.instantiate` allows, or
in a module that the caller allows. The ``allow_modules`` that such a configuration asks for itself does not count.
"""
