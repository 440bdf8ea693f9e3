"""Sources → store.

`sources` (folders, files), `label_csv`, `archives`, `remote` and `web` say what a source
contains, `resolve` tells them apart, `entries` is what they have in common; `importer` checks,
copies and records it, and `known` spares it what has not changed.
"""

from keshikaran.ingest.archives import scan_archive
from keshikaran.ingest.entries import Content, Entry, Held, Listing, LocalFile, Reading, Source
from keshikaran.ingest.importer import ImportReport, import_source
from keshikaran.ingest.label_csv import scan_label_csv
from keshikaran.ingest.remote import scan_remote
from keshikaran.ingest.resolve import resolve_sources
from keshikaran.ingest.sources import CLASS_NAMES, files_below, scan_files, scan_folder

__all__ = [
    "CLASS_NAMES",
    "Content",
    "Entry",
    "Held",
    "ImportReport",
    "Listing",
    "LocalFile",
    "Reading",
    "Source",
    "files_below",
    "import_source",
    "resolve_sources",
    "scan_archive",
    "scan_files",
    "scan_folder",
    "scan_label_csv",
    "scan_remote",
]
