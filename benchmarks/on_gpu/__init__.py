"""The parts of ``benchmarks/gpu.py``: one module for each question it answers, and what they share."""
