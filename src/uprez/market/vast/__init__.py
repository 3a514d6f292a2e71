"""The Vast.ai market: the wire, and the decisions made on what it says."""
