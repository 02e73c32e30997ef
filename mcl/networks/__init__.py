"""Backbones made of stages, their auxiliary branches, and the cohort that learns together."""
