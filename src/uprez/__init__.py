"""uprez: batches of video, larger and smoother, on this machine or on the cheapest suitable rented GPU."""

__version__ = "0.1.0"
