"""What is in a folder of images before training: ``python -m mcl inspect``."""
