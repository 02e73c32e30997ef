"""The run folder: its files, their formats, and which run it belongs to."""
