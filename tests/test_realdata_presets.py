"""Two real parts in one model file answer on photographs as their networks do one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundle_support import manifest
from keshikaran.backbones import EngineName, load_backbone, open_engine
from keshikaran.bundle import pack, parse_bundle, run_self_test
from keshikaran.head import Head, sigmoid
from keshikaran.inference import Pipeline, infer_image
from keshikaran.parts import Inputs, Part
from keshikaran.pixels import InProcessDecoder, PixelSpec, decode_image
from keshikaran.scoring_graph import build_joined_graph

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_scores_of_two_parts_are_those_of_their_networks(
    engine: EngineName, photographs: Path
) -> None:
    network = load_backbone()
    shapes = [PixelSpec(network.height, network.width, mode) for mode in ("crop", "pad")]
    parts = [Part(network, shape) for shape in shapes]
    rng = np.random.default_rng(0)
    head = Head(rng.normal(0, 0.02, 2 * network.dim), -0.3)
    graph = build_joined_graph(parts, head)
    sides = (network.height, network.width)
    told = manifest(
        run_self_test(open_engine(graph.SerializeToString(), streams=1), *sides, sides),
        inputs=[
            {"height": s.height, "width": s.width, "resize_mode": s.resize_mode} for s in shapes
        ],
        parts=[{"backbone": 0, "input": n, "features": network.dim} for n in (0, 1)],
    )
    bundle = parse_bundle(pack(graph, told), "model.onnx")
    assert len(bundle.model) < 14e6
    joined = open_engine(bundle.model, engine=engine, streams=1)
    alone = open_engine(network.model, streams=1)
    pipeline = Pipeline(InProcessDecoder(), joined, Inputs.of(parts).spec)
    files = sorted((photographs / "clothing" / "images").glob("*/*.jpg"))[::250]
    assert len(files) >= 10
    for file in files:
        data = file.read_bytes()
        views = [decode_image(data, shape).views for shape in shapes]
        features = np.concatenate([alone.infer(view)[network.output][0] for view in views])
        expected = float(sigmoid(features.astype(np.float64) @ head.weights + head.bias))
        assert infer_image(data, pipeline).score() == pytest.approx(expected, abs=1e-3)
