"""What a workspace remembers.

`blobs` keeps the image files, `store` the catalogue of images, sources, labels, splits and
refusals, `fingerprints` what need not be read again, `visited` what an entry gave before,
`features` the cache of what backbones said; `records` and `places` are rows and names, `schema`
and `database` are SQLite below them, `skipped_file` is the list for people, `workspace` knows
the paths.
"""

from keshikaran.store.features import FeatureCache, FeatureRecipe
from keshikaran.store.fingerprints import Fingerprint, Fingerprints
from keshikaran.store.places import place_of
from keshikaran.store.records import ImageRecord, SourceEntry
from keshikaran.store.skipped_file import update_skipped, write_skipped
from keshikaran.store.store import (
    Contradiction,
    LabelledImage,
    Store,
)
from keshikaran.store.workspace import Workspace, workspace_folder

__all__ = [
    "Contradiction",
    "FeatureCache",
    "FeatureRecipe",
    "Fingerprint",
    "Fingerprints",
    "ImageRecord",
    "LabelledImage",
    "SourceEntry",
    "Store",
    "Workspace",
    "place_of",
    "update_skipped",
    "workspace_folder",
    "write_skipped",
]
