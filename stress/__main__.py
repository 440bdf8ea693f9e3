"""Ask every question, or those named: `python -m stress [--quick] [NAME ...]`.

Prints Markdown for docs/reliability.md as the answers come; exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path

import stress
from stress.finding import Size


def questions() -> list[str]:
    """Names of the modules here that have a question."""
    names = [module.name for module in pkgutil.iter_modules(stress.__path__)]
    folder = Path(stress.__file__).parent
    return [name for name in names if "\ndef run(" in (folder / f"{name}.py").read_text("utf-8")]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(questions()))
    parser.add_argument("--quick", action="store_true", help="the small size, for a first look")
    chosen = parser.parse_args()
    size: Size = "quick" if chosen.quick else "full"
    held = True
    for name in chosen.names or questions():
        started = time.perf_counter()
        finding = importlib.import_module(f"stress.{name}").run(size)
        held = held and finding.held
        print(finding.to_markdown())
        seconds = time.perf_counter() - started
        print(f"\n`python -m stress {name}`: {seconds:.0f} s.\n", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
