"""A network of timm → ONNX, its normalisation inside, held against torch on pictures.

Needs the extra `torch`; nothing of it is imported before somebody asks for a network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from keshikaran.backbones import make_backbone, open_engine
from keshikaran.errors import BackboneError, MissingExtraError
from keshikaran.types import Float32Array, UInt8Array
from keshikaran.zoo.candidate import Candidate

MAX_DIFFERENCE = 1e-3
"""Of the largest feature: what ONNX may differ from torch by."""

RANDOM_LICENCE = "none (random weights)"
_NEEDED = ("torch", "timm", "onnxscript")
_OPSET = 18
_SEED = 0

Pictures = Callable[[int, int], UInt8Array]
"""Height, width → pictures to check with, uint8 [N, height, width, 3]."""


@dataclass(frozen=True, slots=True)
class _Network:
    """A network of timm with its normalisation: images uint8 [N, H, W, 3] → features [N, D]."""

    module: Any
    height: int
    width: int
    licence: str


def need_torch(what: str) -> None:
    """Refuse early when the packages of the extra are missing.

    Raises:
        MissingExtraError: names the extra.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError(what, "torch")


def from_timm(name: str, pictures: Pictures, *, random_weights: bool = False) -> Candidate:
    """Load a network by its name in timm, export it and check it.

    Args:
        name: as timm has it, with or without the tag of its weights.
        pictures: what to hold ONNX against torch on.
        random_weights: take random ones and reach for no hub; for trials.

    Raises:
        MissingExtraError: torch, timm or onnxscript is not installed.
        BackboneError: no such network, its weights cannot be had, or it cannot be exported.
    """
    need_torch("A network of timm")
    network = _load(name, random_weights=random_weights)
    images = pictures(network.height, network.width)
    expected = _run(network.module, images)
    if expected.ndim != 2:
        msg = f"{name} gives {list(expected.shape)}, not one row of features an image."
        raise BackboneError(msg, "Choose an encoder that pools, or export the network yourself.")
    model = _export(network, images[:2], name)
    difference = _difference(model, images, expected, name)
    return Candidate(
        name=f"{name}-random" if random_weights else name,
        model=model,
        licence=network.licence,
        source=f"timm:{name}",
        source_sha256=_weights_digest(network.module),
        random_weights=random_weights,
        difference=difference,
        checked_on=len(images),
    )


def _load(name: str, *, random_weights: bool) -> _Network:
    import timm
    import torch

    if not timm.is_model(name):
        close = timm.list_models(f"*{name.partition('.')[0]}*")[:5]
        msg = f"timm has no network named {name}."
        hint = f"Close to it: {', '.join(close)}." if close else "Check its name."
        raise BackboneError(msg, hint)
    torch.manual_seed(_SEED)
    options = {"num_classes": 0, "exportable": True}
    try:
        network = timm.create_model(name, pretrained=not random_weights, **options)
    except Exception as error:  # whatever a hub, a proxy or a cache can raise
        msg = f"The weights of {name} cannot be had: {type(error).__name__}: {_first(error)}"
        hint = (
            "They come from a hub: check the connection, or add an .onnx file that was exported"
            " elsewhere. For a trial with random weights: --random"
        )
        raise BackboneError(msg, hint) from error
    facts = timm.data.resolve_model_data_config(network)
    _, height, width = facts["input_size"]
    licence = RANDOM_LICENCE if random_weights else network.pretrained_cfg.get("license")
    module = _with_normalisation(network.eval(), facts["mean"], facts["std"])
    return _Network(module, height, width, licence or "unknown")


def _with_normalisation(network: Any, mean: Sequence[float], std: Sequence[float]) -> Any:  # noqa: ANN401
    import torch

    class Normalised(torch.nn.Module):  # type: ignore[misc]
        """Images uint8 [N, H, W, 3] → features float32 [N, D]."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", 255.0 * torch.tensor(mean).reshape(1, 3, 1, 1))
            self.register_buffer("std", 255.0 * torch.tensor(std).reshape(1, 3, 1, 1))

        def forward(self, images: Any) -> Any:  # noqa: ANN401
            """One row of features an image."""
            planes = images.permute(0, 3, 1, 2).to(torch.float32)
            return self.network((planes - self.mean) / self.std)

    return Normalised().eval()


def _run(module: Any, images: UInt8Array) -> Float32Array:  # noqa: ANN401
    """What torch says, an image at a time."""
    import torch

    with torch.inference_mode():
        rows = [module(torch.from_numpy(image[None])).numpy() for image in images]
    features: Float32Array = np.concatenate(rows)
    return features


def _export(network: _Network, images: UInt8Array, name: str) -> bytes:
    """The network as one plain ONNX graph with a free number of images."""
    import torch

    _use_plain_means(network.module)
    pair = torch.from_numpy(np.concatenate([images, images])[:2].copy())
    try:
        with _quietly():
            program = torch.onnx.export(
                network.module,
                (pair,),
                dynamo=True,
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever an exporter can raise
        msg = f"{name} cannot be exported: {type(error).__name__}: {_first(error)}"
        raise BackboneError(msg, "Choose another network of its family.") from error
    return _plain(program.model_proto)


def _use_plain_means(module: Any) -> None:  # noqa: ANN401
    """Pool by a mean over both axes, which is the same and leaves a size that can be told."""
    import torch

    class Mean(torch.nn.Module):  # type: ignore[misc]
        """Planes [N, C, H, W] → [N, C, 1, 1]."""

        def forward(self, planes: Any) -> Any:  # noqa: ANN401
            """Mean of each plane."""
            return planes.mean((2, 3), keepdim=True)

    for part in list(module.modules()):
        for name, child in part.named_children():
            pools = isinstance(child, torch.nn.AdaptiveAvgPool2d)
            if pools and child.output_size in (1, (1, 1)):
                setattr(part, name, Mean())


def _plain(exported: onnx.ModelProto) -> bytes:
    """The same graph without the exporter's notes, which name files of this machine."""
    model = onnx.inliner.inline_local_functions(exported) if exported.functions else exported
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.doc_string = model.doc_string = ""
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    graph.name = "timm"
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _difference(model: bytes, images: UInt8Array, expected: Float32Array, name: str) -> float:
    """How far ONNX is from torch, as a share of the largest feature."""
    backbone = make_backbone(name, model, "", f"The exported {name}")
    engine = open_engine(model, streams=1)
    found = np.concatenate([engine.infer(image[None])[backbone.output] for image in images])
    scale = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max()) / scale if scale > 0 else float("inf")
    if not difference <= MAX_DIFFERENCE:
        msg = f"The exported {name} differs from torch by {difference:.2g} of its largest feature."
        raise BackboneError(msg, "Choose another network of its family.")
    return difference


def _weights_digest(module: Any) -> str:  # noqa: ANN401
    """SHA-256 over names and values of all weights, since a hub's files are not ours to keep."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Exporters talk at length; what matters comes as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [""])[0][:300]
