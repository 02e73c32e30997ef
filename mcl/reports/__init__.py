"""Finished runs as tables, statistics, pictures and pages."""
