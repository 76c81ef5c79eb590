"""One device, several, or several machines: the strategy, and what makes training mean the same on each."""

from kseg.distribution.cluster import is_chief, lost_workers
from kseg.distribution.devices import patch_trainer, strategy
from kseg.distribution.sharing import from_chief

__all__ = [
    "from_chief",
    "is_chief",
    "lost_workers",
    "patch_trainer",
    "strategy",
]
