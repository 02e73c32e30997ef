"""What is trained: backbones made of stages, their auxiliary branches, and cohorts that learn together."""
