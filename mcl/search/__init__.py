"""Searches with Optuna: what is searched, where trials are stored, which one is next, and when a run is pruned.

Optuna is imported by the functions that use it, because ``train.py`` needs it for trials only.
"""
