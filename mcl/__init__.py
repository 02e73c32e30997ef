"""Online knowledge distillation by mutual contrastive learning."""

__version__ = "0.1.0"
