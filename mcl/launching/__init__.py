"""What ``hydra/launcher=gpus`` knows of runs and of PyTorch; the launcher itself is `hydra_gpu_launcher`."""
