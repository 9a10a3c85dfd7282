"""Groups of observations: one or several partitions, their origin, and shares of a batch."""

from mlvae.groups.grouping import Grouping
from mlvae.groups.groups import Groups
from mlvae.groups.labels import label_index
from mlvae.groups.origin import Origin
from mlvae.groups.shares import Share, SpanningShare

__all__ = ["Grouping", "Groups", "Origin", "Share", "SpanningShare", "label_index"]
