"""`python -m uprez`: how a machine without the script on its PATH starts the same command."""

from uprez.cli.main import run_cli

if __name__ == "__main__":
    run_cli()
