"""Run `keshikaran demo` and keep what it prints as a picture for the README.

Usage: python tools/record_demo.py docs/demo.svg
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDTH = 110


def demo_output(folder: Path) -> str:
    """What the demo says and prints, in the order a person sees it."""
    command = [sys.executable, "-m", "keshikaran", "demo"]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout


def main() -> None:
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        text = demo_output(Path(folder)).replace(f"{Path(folder).resolve()}/", "")
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    console.print("$ keshikaran demo", style="bold green", highlight=False)
    console.print(Text(text.rstrip()))
    svg = console.export_svg(title="keshikaran demo")
    # The picture must not fetch a font from elsewhere; any monospace one will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    out.write_text(svg.replace("Fira Code", "ui-monospace"), encoding="utf-8")


if __name__ == "__main__":
    main()
