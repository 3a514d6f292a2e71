"""A loopback Vast.ai market that really runs what it rents: for tests, and for trying everything without an account."""

from uprez.practice.clock import Clock
from uprez.practice.faults import FAULTS
from uprez.practice.market import Market, Options
from uprez.practice.meter import Meter
from uprez.practice.process import Idle, Processes
from uprez.practice.server import PracticeServer

__all__ = ["FAULTS", "Clock", "Idle", "Market", "Meter", "Options", "PracticeServer", "Processes"]
