"""A calibrated head → the model file, in a thread beside the figures that it will hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np

from keshikaran.bundle import Manifest, SelfTest
from keshikaran.dataset import Dataset
from keshikaran.drift_reference import DriftReference
from keshikaran.drift_summary import UnseenImages, summarise
from keshikaran.errors import ImageRefusedError
from keshikaran.evaluation import EvaluationReport
from keshikaran.export import export_bundle
from keshikaran.head import Head
from keshikaran.model_card import Facts, manifest_of, model_id_of
from keshikaran.preparation import Tools, engine_opener
from keshikaran.rows import take
from keshikaran.scoring_graph import build_joined_graph
from keshikaran.store import Store, Workspace
from keshikaran.types import Float32Array, GroupId, Split

_PARITY_IMAGES = 16
_MOST_SUMMED_UP = 20_000

Groups = Mapping[Split, Sequence[GroupId]]
"""Group of each image of each side, in the order of its rows."""


def start_bundling(
    beside: Executor,
    workspace: Workspace,
    tools: Tools,
    facts: Facts,
    groups: Groups,
    figures: Future[EvaluationReport],
) -> Future[Manifest]:
    """Begin to write the model file; its scores are held against the pipeline's.

    Loading the network and proving it takes as long as judging the head does, and neither needs
    the other; the figures are waited for before anything is written.

    Args:
        beside: what runs it.
        workspace: where the file goes.
        tools: open until the work is done.
        facts: what is known of the run.
        groups: of the images.
        figures: to come.

    Returns:
        The manifest that was written. The future raises what `export_bundle` raises.
    """
    created = datetime.now(UTC)
    model_id = model_id_of(created, facts)
    head = facts.calibrated.head
    proof = _proof(tools.store, facts.data, head)  # here: the store belongs to this thread

    def describe(self_test: SelfTest) -> Manifest:
        reference = _reference(facts, groups)
        return manifest_of(facts, figures.result(), reference, model_id, created, self_test)

    def work() -> Manifest:
        graph = build_joined_graph(facts.parts, head)
        path, opener = workspace.model(model_id), engine_opener(facts.options)
        return export_bundle(path, graph, describe, opener, proof, tools.decoder)

    return beside.submit(work)


def _proof(store: Store, data: Dataset, head: Head) -> list[tuple[bytes, float]]:
    """Validation files from both ends and the middle of the scores, and their scores.

    One that was damaged since its features were computed proves nothing and is left out.
    """
    rows = data.rows("validation")
    scores = data.scores(head, rows)
    order = scores.argsort(kind="stable")
    step = max(1, len(order) // _PARITY_IMAGES)
    chosen = [int(index) for index in order[::step]]
    ids = [data.image_ids[rows[index]] for index in chosen]
    extensions = store.extension_of(ids)
    proof: list[tuple[bytes, float]] = []
    for image_id, index in zip(ids, chosen, strict=True):
        with suppress(ImageRefusedError):
            file = store.blobs.read(image_id, extensions[image_id])
            proof.append((file, float(scores[index])))
    return proof


def _reference(facts: Facts, groups: Groups) -> DriftReference | None:
    """What validation and test images look like, for the server to compare uploads with."""
    data, calibrated = facts.data, facts.calibrated
    rows = np.concatenate([data.rows("validation"), data.rows("test")])
    kept = _evenly(len(rows))
    known = [*groups["validation"], *groups["test"]]
    unseen = UnseenImages(
        _first_views(facts, rows[kept]),
        data.labels[rows[kept]],
        data.scores(calibrated.head, rows[kept]),
        [known[number] for number in kept],
    )
    taught = data.rows("train")
    taught = taught[_evenly(len(taught))]
    return summarise(_first_views(facts, taught), unseen, calibrated.prevalence)


def _evenly(count: int) -> np.ndarray:
    """Numbers of at most 20,000 among `count`, evenly spread."""
    return np.arange(0, count, -(-count // _MOST_SUMMED_UP) or 1)


def _first_views(facts: Facts, rows: np.ndarray) -> Float32Array:
    """Features of the first part, of the first view of each image."""
    data, dim = facts.data, facts.parts[0].backbone.dim
    return np.asarray(take(data.features, data.starts[rows]), dtype=np.float32)[:, :dim]
