"""What the store's stress tests run as processes of their own, to be killed or to compete.

    python -m stress.workspace_driver import WORKSPACE SOURCE
    python -m stress.workspace_driver label WORKSPACE SOURCE

Prints `ready`, and then each thing only once it is acknowledged: the ids of the images of each
committed batch; `label` goes on with the id of each image and the label just given to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from keshikaran.errors import KeshikaranError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import Listing, import_source, scan_folder
from keshikaran.pixels import DEFAULT_LIMITS
from keshikaran.store import Added, ImageRecord, SourceEntry, Store
from keshikaran.types import Label

_ROOT = Path(__file__).resolve().parent.parent


class TellingStore(Store):
    """A store that prints what it has committed."""

    def add(
        self, records: Sequence[ImageRecord], entries: Sequence[SourceEntry], *, who: str
    ) -> Added:
        """See `Store.add`."""
        added = super().add(records, entries, who=who)
        for entry in entries:
            print(entry.image_id)
        sys.stdout.flush()
        return added


def start(*words: str | Path, memory: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Run this module as a process; its words come line by line from `stdout`."""
    path = os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "stress.workspace_driver", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": path, **(memory or {})},
    )


def main() -> int:
    """Do one of the two."""
    action, workspace, *rest = sys.argv[1:]
    print("ready", flush=True)
    try:
        with TellingStore(Path(workspace)) as store:
            source = scan_folder(Path(rest[0]))
            import_source(store, source)
            if action == "label":
                _label(store, source)
    except KeshikaranError as error:
        print(f"failed: {error}", flush=True)
        return 1
    print("done", flush=True)
    return 0


def _label(store: Store, source: Listing) -> None:
    for number, entry in enumerate(source.entries):
        image_id = image_id_of(entry.content.read(DEFAULT_LIMITS).data)
        value: Label = 1 if number % 2 else 0
        store.labels.say(image_id, value, who="labeller", why=str(number))
        print(image_id, value, flush=True)


if __name__ == "__main__":
    sys.exit(main())
