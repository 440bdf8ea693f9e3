"""Frozen networks: pixels → features.

`registry` finds one (`registered`: among those that were added), `graph` refuses unsafe ones,
`engine` chooses what runs it (`openvino_engine`, `onnxruntime_engine`; on cards `card_engine`, by
way of `devices` and `half`), `cost` measures it. The embedded EfficientNet-Lite0 lies in
`embedded/`; `tools/convert_efficientnet_lite0.py` made it with `efficientnet_lite`.
"""

from keshikaran.backbones.devices import DEVICE_NAMES, Device
from keshikaran.backbones.engine import (
    ENGINE_NAMES,
    Engine,
    EngineName,
    device_of,
    open_engine,
    usable_cores,
)
from keshikaran.backbones.graph import GraphSignature, read_graph
from keshikaran.backbones.registered import name_of_digest
from keshikaran.backbones.registry import (
    DEFAULT_BACKBONE,
    Backbone,
    backbone_of_digest,
    known_names,
    load_backbone,
    make_backbone,
    read_backbone_file,
)

__all__ = [
    "DEFAULT_BACKBONE",
    "DEVICE_NAMES",
    "ENGINE_NAMES",
    "Backbone",
    "Device",
    "Engine",
    "EngineName",
    "GraphSignature",
    "backbone_of_digest",
    "device_of",
    "known_names",
    "load_backbone",
    "make_backbone",
    "name_of_digest",
    "open_engine",
    "read_backbone_file",
    "read_graph",
    "usable_cores",
]
