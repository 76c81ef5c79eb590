"""One device, several, or several machines: the strategy, and what makes training mean the same on each."""

from kseg.distribution.cluster import is_chief, lost_workers
from kseg.distribution.devices import mend_trainer, strategy
from kseg.distribution.replicas import (
    builds_for_replicas,
    gather_from_replicas,
    mean_over_replicas,
    moments_over_replicas,
    own_part,
    real,
    replica_context,
    replica_share,
    replicas,
    sum_over_replicas,
)
from kseg.distribution.sharing import from_chief

__all__ = [
    "builds_for_replicas",
    "from_chief",
    "gather_from_replicas",
    "is_chief",
    "lost_workers",
    "mean_over_replicas",
    "mend_trainer",
    "moments_over_replicas",
    "own_part",
    "real",
    "replica_context",
    "replica_share",
    "replicas",
    "strategy",
    "sum_over_replicas",
]
