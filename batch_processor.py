"""`python batch_processor.py ...` is `uprez run ...`, for people who know the old command."""

import sys

from uprez.cli.main import run_cli

run_cli(["run", *sys.argv[1:]])
