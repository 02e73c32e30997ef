"""Measure how fast a configuration trains on this machine, where the time goes, and which settings are faster."""
