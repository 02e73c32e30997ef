"""Configurations: the choices, their checks, and how they become objects.

Whoever imports a part of this package has the interpolations of the YAML files, because Slurm and Ray unpickle a job in
a process that no entry point has prepared.
"""

from mcl.config import resolvers

resolvers.register()
