"""A scoring graph → the model file, once it has answered as the pipeline did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from keshikaran.backbones import Engine, read_graph
from keshikaran.bundle import Manifest, SelfTest, pack, parse_bundle, run_self_test, write_bundle
from keshikaran.errors import BundleError
from keshikaran.inference import Pipeline, infer_image
from keshikaran.manifest import MOST_PARTS
from keshikaran.pixels import Decoder

PARITY_TOLERANCE = 1e-3


def export_bundle(
    path: Path,
    graph: onnx.ModelProto,
    describe: Callable[[SelfTest], Manifest],
    open_loaded: Callable[[bytes], Engine],
    proof: Sequence[tuple[bytes, float]],
    decoder: Decoder,
) -> Manifest:
    """Write a bundle, unless it answers otherwise than the pipeline did.

    Args:
        path: where to.
        graph: from `scoring_graph`.
        describe: makes the manifest, given the self-test's answer.
        open_loaded: loads a network's bytes into an engine.
        proof: image files that were not trained on, each with the score the pipeline gave it.
        decoder: turns those files into views.

    Returns:
        The manifest that was written.

    Raises:
        BundleError: a score differs by more than 1e-3; nothing is written.
        StoreError: the disk is full or cannot be written.
    """
    model: bytes = graph.SerializeToString(deterministic=True)
    engine = open_loaded(model)
    _, signature = read_graph(model, path.name, MOST_PARTS)
    first, *beside = signature.inputs.values()
    self_test = run_self_test(engine, *first, *beside)
    manifest = describe(self_test)
    pipeline = Pipeline(decoder, engine, manifest.pixels)
    for data, expected in proof:
        found = infer_image(data, pipeline).score()
        if not abs(found - expected) <= PARITY_TOLERANCE:
            msg = f"The exported model scores an image {found:.5f}; training says {expected:.5f}."
            raise BundleError(msg, "Nothing was written. Try another --engine, and report this.")
    data = pack(graph, manifest)
    parse_bundle(data, path.name)
    write_bundle(path, data)
    return manifest
