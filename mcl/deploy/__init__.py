"""Use a trained run: evaluate it, export its networks, load them, bundle it.

Nothing found in a run folder, a bundle or an exported file is trusted. Weights are read as tensors and plain values.
Configurations pass `mcl.runs.received`, and what they name is built only where it is a class of the kind that belongs
there (`mcl.deploy.kinds`), or lies in a module that the caller allows. The ``allow_modules`` that such a configuration
asks for itself does not count.
"""
