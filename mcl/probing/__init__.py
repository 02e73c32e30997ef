"""How good a representation is: classifiers on frozen features, on any data set (``python -m mcl probe``)."""

from mcl.probing.probe import Options, probe, probe_record
from mcl.probing.subject import Subject, open_subject

__all__ = ["Options", "Subject", "open_subject", "probe", "probe_record"]
