"""What the shell's commands do, step by step; a script can call the same."""

from kseg.recipes.files import comparison, export, inspect, predict_files
from kseg.recipes.latency import Latency, benchmark, latency_table
from kseg.recipes.training import train

__all__ = [
    "Latency",
    "benchmark",
    "comparison",
    "export",
    "inspect",
    "latency_table",
    "predict_files",
    "train",
]
