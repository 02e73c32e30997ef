"""What is done with a run once it has been trained: judge it, take its networks along, pass it on.

Nothing found in a run folder, a bundle or an exported file is trusted. Weights are read as tensors and plain values.
Configurations pass `mcl.config.received`, and what they name is built only where it is a class of the kind that belongs
there (`mcl.deploy.kinds`), or lies in a module that the caller allows. The ``allow_modules`` that such a configuration
asks for itself does not count.
"""
