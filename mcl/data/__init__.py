"""Where batches come from: datasets, samplers, augmentation, loaders."""
