"""Datasets, samplers, augmentation and loaders."""
