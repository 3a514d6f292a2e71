"""Reads networks from the formats they are published in: NumPy arrays out, nothing trusted on the way."""

from __future__ import annotations

from uprez.models.importers.ifnet import read_ifnet
from uprez.models.importers.ncnn import Convolution
from uprez.models.importers.rrdb import Dense, RrdbWeights, read_rrdb
from uprez.models.importers.srvgg import SrvggWeights, read_srvgg
from uprez.models.importers.statedict import read_state

__all__ = [
    "Convolution",
    "Dense",
    "RrdbWeights",
    "SrvggWeights",
    "read_ifnet",
    "read_rrdb",
    "read_srvgg",
    "read_state",
]
