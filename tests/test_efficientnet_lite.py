"""The graphs of EfficientNet-Lite, written from arrays."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from onnx import numpy_helper

from keshikaran.backbones import load_backbone, open_engine, read_graph
from keshikaran.backbones.efficientnet_lite import (
    FEATURES,
    VARIANTS,
    Origin,
    architecture,
    build_model,
    same_padding,
    stages_of,
)
from keshikaran.errors import BackboneError
from zoo_support import made_up_weights

_ORIGIN = Origin("some-package", "1.2.3", "ab" * 32, "Apache-2.0")
_SHIPPED = "1ee7761fec65380ae4bf77fd7173e4a849b8bf039ae42e1d8e87807cbaa321d6"


def test_network_in_the_package_is_the_one_that_caches_and_bundles_know() -> None:
    model = load_backbone().model
    assert len(model) == 13_419_416
    assert hashlib.sha256(model).hexdigest() == _SHIPPED


def test_network_in_the_package_has_the_architecture_that_is_written() -> None:
    shipped, _ = read_graph(load_backbone().model, "shipped")
    weights = made_up_weights("efficientnet-lite0")
    written = build_model(VARIANTS["efficientnet-lite0"], weights, _ORIGIN)
    assert list(written.graph.node) == list(shipped.graph.node)
    sizes = [{t.name: tuple(t.dims) for t in m.graph.initializer} for m in (shipped, written)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("name", "blocks", "channels"),
    [
        ("efficientnet-lite0", 16, [16, 24, 40, 80, 112, 192, 320]),
        ("efficientnet-lite1", 21, [16, 24, 40, 80, 112, 192, 320]),
        ("efficientnet-lite2", 21, [16, 24, 48, 88, 120, 208, 352]),
        ("efficientnet-lite3", 24, [24, 32, 48, 96, 136, 232, 384]),
        ("efficientnet-lite4", 30, [24, 32, 56, 112, 160, 272, 448]),
    ],
)
def test_sizes_of_the_family_are_the_published_ones(
    name: str, blocks: int, channels: list[int]
) -> None:
    variant = VARIANTS[name]
    assert [stage.channels for stage in stages_of(variant)] == channels
    assert len(architecture(variant)) == blocks + 2  # stem and head


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_network_passes_our_own_checks_and_runs(name: str) -> None:
    variant = VARIANTS[name]
    model = build_model(variant, made_up_weights(name), _ORIGIN)
    data = model.SerializeToString(deterministic=True)
    _, signature = read_graph(data, name)
    assert (signature.height, signature.width) == (variant.size, variant.size)
    images = np.random.default_rng(0).integers(
        0, 256, (2, variant.size, variant.size, 3), dtype=np.uint8
    )
    features = open_engine(data, streams=1).infer(images)["features"]
    assert features.shape == (2, FEATURES)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0


def test_same_weights_give_the_same_bytes() -> None:
    variant, weights = VARIANTS["efficientnet-lite0"], made_up_weights("efficientnet-lite0")
    files = [
        build_model(variant, weights, _ORIGIN).SerializeToString(deterministic=True)
        for _ in range(2)
    ]
    assert files[0] == files[1]


def test_file_says_where_its_weights_come_from() -> None:
    name = "efficientnet-lite0"
    model = build_model(VARIANTS[name], made_up_weights(name), _ORIGIN)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "name": "efficientnet_lite0",
        "source_package": "some-package",
        "source_version": "1.2.3",
        "source_sha256": "ab" * 32,
        "licence": "Apache-2.0",
    }


def test_batch_norm_is_folded_into_the_convolution() -> None:
    name = "efficientnet-lite0"
    plain = dict(made_up_weights(name))
    scaled = dict(plain)
    scaled["_bn1.weight"] = 2 * plain["_bn1.weight"]
    scaled["_bn1.bias"] = plain["_bn1.bias"] + 3
    kernels, biases = [], []
    for weights in (plain, scaled):
        graph = build_model(VARIANTS[name], weights, _ORIGIN).graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        kernels.append(values["conv_head.weight"])
        biases.append(values["conv_head.bias"])
    np.testing.assert_allclose(kernels[1], 2 * kernels[0], rtol=1e-6)
    np.testing.assert_allclose(biases[1], biases[0] + 3, rtol=1e-6)


def test_weights_of_another_network_are_refused() -> None:
    weights = dict(made_up_weights("efficientnet-lite0"))
    with pytest.raises(BackboneError, match=r"do not fit efficientnet-lite2.*_blocks"):
        build_model(VARIANTS["efficientnet-lite2"], weights, _ORIGIN)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(224, 3, 2, (0, 1)), (112, 3, 1, (1, 1)), (7, 5, 2, (2, 2)), (260, 3, 2, (0, 1))],
)
def test_padding_is_that_of_tensorflow(
    size: int, kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == padding
