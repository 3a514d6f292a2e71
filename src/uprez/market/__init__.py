"""Places that offer machines, behind one protocol."""
