"""Where results and checkpoints are kept: a folder or (later) a bucket, with every object key composed in one place."""
