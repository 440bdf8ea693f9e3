"""Frozen networks: pixels → features.

`registry` finds one, `graph` refuses unsafe ones, `engine` chooses what runs it
(`openvino_engine`, `onnxruntime_engine`). The embedded EfficientNet-Lite0 lies in `embedded/`;
`tools/convert_efficientnet_lite0.py` made it.
"""

from keshikaran.backbones.engine import (
    ENGINE_NAMES,
    Engine,
    EngineName,
    open_engine,
    usable_cores,
)
from keshikaran.backbones.graph import GraphSignature, read_graph
from keshikaran.backbones.registry import DEFAULT_BACKBONE, Backbone, load_backbone

__all__ = [
    "DEFAULT_BACKBONE",
    "ENGINE_NAMES",
    "Backbone",
    "Engine",
    "EngineName",
    "GraphSignature",
    "load_backbone",
    "open_engine",
    "read_graph",
    "usable_cores",
]
