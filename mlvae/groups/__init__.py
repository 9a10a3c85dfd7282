"""Groups of observations: the partition, its origin in the data, shares of a distributed batch."""

from mlvae.groups.groups import Groups
from mlvae.groups.labels import label_index
from mlvae.groups.origin import Origin
from mlvae.groups.shares import Share, SpanningShare

__all__ = ["Groups", "Origin", "Share", "SpanningShare", "label_index"]
