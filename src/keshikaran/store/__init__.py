"""What a workspace remembers.

`blobs` keeps the image files, `store` the catalogue of images, sources, labels, splits and
refusals, `features` the cache of what backbones said, `schema` and `database` are SQLite below
them, `workspace` knows the paths.
"""

from keshikaran.store.features import FeatureCache, FeatureRecipe
from keshikaran.store.store import (
    Contradiction,
    ImageRecord,
    ImportReason,
    LabelledImage,
    SourceEntry,
    Store,
)
from keshikaran.store.workspace import Workspace, workspace_folder

__all__ = [
    "Contradiction",
    "FeatureCache",
    "FeatureRecipe",
    "ImageRecord",
    "ImportReason",
    "LabelledImage",
    "SourceEntry",
    "Store",
    "Workspace",
    "workspace_folder",
]
