"""What a workspace remembers.

`blobs` keeps the image files, `store` says what is known of images, sources, splits and refusals,
`labelled` what was said about images, `groups` which are copies of one photograph, `suspected`
which may be, `fingerprints` what need not be read again, `visited` what an entry gave before,
`features` caches what backbones said and `feature_rows` reads all of it, `rival_scores` what other
models said; `looks` and `traits` tell what images have in common, `array_file` holds arrays that
are mapped, `skipped_file` is the list for people, `workspace` knows the paths,
`in_use` which model was chosen; `records` and
`places` are rows and names. Below `store` lies `catalogue`: tables (`schema`, `database`) and
`journal`, told the same `changes`. `fsck`, `gc` and `rebuild` look after them; `lock` keeps them
out of each other's way; `filesystem` knows a network disk.
"""

from keshikaran.recipe import FeatureRecipe
from keshikaran.store.array_file import read_arrays, write_arrays
from keshikaran.store.blobs import BlobStore
from keshikaran.store.feature_rows import FeatureRows, StoredRows
from keshikaran.store.features import FeatureCache
from keshikaran.store.findings import ADVICE, LEFTOVERS, FsckFinding, FsckReport
from keshikaran.store.fingerprints import Fingerprint, Fingerprints
from keshikaran.store.fsck import check_store
from keshikaran.store.gc import GcReport, collect_garbage
from keshikaran.store.groups import Groups, group_of
from keshikaran.store.in_use import Change, InUse, put_into_use, read_in_use
from keshikaran.store.looks import Look, Looks
from keshikaran.store.places import place_of
from keshikaran.store.rebuild import RebuildReport, rebuild_catalogue, rebuild_journal
from keshikaran.store.records import (
    Added,
    Contradiction,
    DuplicatePair,
    ImageRecord,
    LabelEvent,
    LabelledImage,
    SetAside,
    SourceEntry,
    SuspectedPair,
)
from keshikaran.store.rival_scores import RivalKey, RivalScore, RivalScores
from keshikaran.store.scratch import room_for
from keshikaran.store.skipped_file import update_skipped, write_skipped
from keshikaran.store.store import Store
from keshikaran.store.traits import StoredTraits, Traits
from keshikaran.store.workspace import Workspace, workspace_folder

__all__ = [
    "ADVICE",
    "LEFTOVERS",
    "Added",
    "BlobStore",
    "Change",
    "Contradiction",
    "DuplicatePair",
    "FeatureCache",
    "FeatureRecipe",
    "FeatureRows",
    "Fingerprint",
    "Fingerprints",
    "FsckFinding",
    "FsckReport",
    "GcReport",
    "Groups",
    "ImageRecord",
    "InUse",
    "LabelEvent",
    "LabelledImage",
    "Look",
    "Looks",
    "RebuildReport",
    "RivalKey",
    "RivalScore",
    "RivalScores",
    "SetAside",
    "SourceEntry",
    "Store",
    "StoredRows",
    "StoredTraits",
    "SuspectedPair",
    "Traits",
    "Workspace",
    "check_store",
    "collect_garbage",
    "group_of",
    "place_of",
    "put_into_use",
    "read_arrays",
    "read_in_use",
    "rebuild_catalogue",
    "rebuild_journal",
    "room_for",
    "update_skipped",
    "workspace_folder",
    "write_arrays",
    "write_skipped",
]
