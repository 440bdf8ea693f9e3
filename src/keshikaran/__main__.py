"""`python -m keshikaran`."""

from keshikaran.cli.main import run

if __name__ == "__main__":
    run()
