"""Everything that touches media files: probe, decode, encode, timeline, mux, verify; FFmpeg by PyAV only."""
