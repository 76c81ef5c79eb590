"""What the shell's commands do, step by step; a script can call the same."""

from kseg.recipes.files import comparison, export, predict_files
from kseg.recipes.training import train

__all__ = ["comparison", "export", "predict_files", "train"]
