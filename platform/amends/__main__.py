"""Run the command line with `python -m amends`."""

from amends.cli import run

if __name__ == "__main__":
    run()
