"""What a workspace remembers.

`blobs` keeps the image files, `store` the catalogue of images, sources, labels, splits and
refusals, `features` the cache of what backbones said, `schema` and `database` are SQLite below
them, `workspace` knows the paths.
"""

from keshikaran.store.blobs import BlobStore
from keshikaran.store.features import FeatureCache, FeatureRecipe
from keshikaran.store.fingerprints import Fingerprint, Fingerprints
from keshikaran.store.places import place_of
from keshikaran.store.records import ImageRecord, SourceEntry
from keshikaran.store.store import (
    Contradiction,
    LabelledImage,
    Store,
)
from keshikaran.store.workspace import Workspace, workspace_folder

__all__ = [
    "BlobStore",
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
    "workspace_folder",
]
