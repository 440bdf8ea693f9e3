"""Fine-tuning within a training run: labelled images → a network of their own → its features.

Only training images teach; validation images say when to stop; test images are not looked at. What
comes of it is a backbone like any other, so that all that follows stays as it is, but for one
thing: scores of training images mean nothing any more (`calibrate`).
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from keshikaran.backbones import (
    Backbone,
    load_backbone,
    make_backbone,
    open_engine,
    usable_cores,
)
from keshikaran.backbones.cost import Contender, ms_per_image
from keshikaran.backbones.registered import BackboneRecord, read_record, register
from keshikaran.backbones.taught import taught_images, write_taught
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.featurize import FeatureTable
from keshikaran.finetune import (
    LARGER,
    FinetuneSettings,
    Job,
    Listeners,
    is_ready,
    job_key,
    need_finetuning,
    remove_job,
    write_array,
    write_job,
)
from keshikaran.head import fit_head
from keshikaran.pixels import PIXEL_CONTRACT_VERSION, PixelSpec
from keshikaran.preparation import Tools, featurize_labelled
from keshikaran.store import Workspace
from keshikaran.types import ImageId, Label, Progress, Split, UInt8Array, chunks_of

_DECODED_AT_ONCE = 128
_LONGEST = 50
_MARK = "-finetuned-"


@dataclass(frozen=True, slots=True)
class Tuned:
    """A workspace's tools and rows after fine-tuning.

    Attributes:
        tools: with the new network.
        features: of all labelled images, by it.
        data: the same with labels and sides.
    """

    tools: Tools
    features: FeatureTable
    data: Dataset


def fine_tune(
    workspace: Workspace,
    tools: Tools,
    data: Dataset,
    settings: FinetuneSettings,
    progress: Progress,
    say: Callable[[str], None],
) -> Tuned | None:
    """Teach the backbone on the training images, register it, and featurize with it.

    A run that was broken off goes on where it was; one that is finished is not done again. Under
    `torchrun` this is the first process; the others are in `help_finetuning`.

    Args:
        workspace: keeps the work while it goes on, under `finetuning/`.
        tools: with the backbone to begin from.
        data: images of all three sides.
        settings: how.
        progress: told of long work.
        say: told of each epoch, in words.

    Returns:
        None where no epoch was better on the validation images than the backbone as it was.

    Raises:
        MissingExtraError: torch or safetensors is not installed.
        BackboneError: the network cannot be taught, or the device is not there.
        StoreError: the disk is full or the workspace cannot be written.
    """
    need_finetuning()
    from keshikaran.finetune.crew import Crew

    backbone = tools.backbone
    key = job_key(_decisive(tools, data, settings))
    folder = workspace.folder / "finetuning" / key
    name = _name(backbone, key)
    with Crew(settings.device) as crew:
        if read_record(name) is None:
            if not is_ready(folder):
                _write_job(folder, tools, data, settings, progress)
            log = workspace.run(f"finetuning-{key[:8]}")
            outcome = crew.lead(folder, Listeners(say, progress, log))
            if outcome.model is None:
                remove_job(folder)
                return None
            taught = taught_images(backbone) | {data.image_ids[row] for row in data.rows("train")}
            _register(name, outcome.model, backbone, taught)
        else:
            crew.dismiss()
            say(f"{name} was fine-tuned on the same images before.")
    remove_job(folder)
    return _with(tools, load_backbone(name), data, progress)


def _name(parent: Backbone, key: str) -> str:
    """After the parent; what cannot stand in a name becomes a dash."""
    plain = re.sub(r"[^a-z0-9._-]", "-", parent.name.partition(_MARK)[0].lower())
    return f"{plain.lstrip('._-')[:_LONGEST] or 'network'}{_MARK}{key[:8]}"


def _decisive(tools: Tools, data: Dataset, settings: FinetuneSettings) -> dict[str, Any]:
    """All that decides what comes of it."""
    spec = tools.featurizer.spec
    return {
        "parent": tools.backbone.digest,
        "data": data.digest(),
        "settings": settings.to_dict(),
        "resize_mode": spec.resize_mode,
        "pixel_contract": PIXEL_CONTRACT_VERSION,
    }


def _write_job(
    folder: Path, tools: Tools, data: Dataset, settings: FinetuneSettings, progress: Progress
) -> None:
    """Decode the pictures, once; begin with the head that the product itself would use."""
    spec, backbone = tools.featurizer.spec, tools.backbone
    fit = fit_head(*data.part("train"), *data.part("validation"))
    larger = replace(spec, height=round(spec.height * LARGER), width=round(spec.width * LARGER))
    sides: tuple[tuple[Split, PixelSpec], ...] = (("train", larger), ("validation", spec))
    for side, wanted in sides:
        ids = [data.image_ids[row] for row in data.rows(side)]
        shape = (len(ids), wanted.height, wanted.width, 3)
        rows = _decoded(tools, ids, wanted, progress)
        write_array(folder / f"{side}.npy", shape, "uint8", rows)
    labels = (data.part(side)[1] for side in ("train", "validation"))
    head = fit.head
    write_job(
        Job(folder, backbone.name, backbone.output, settings, head.weights, head.bias, *labels),
        backbone.model,
    )


def _decoded(
    tools: Tools, ids: Sequence[ImageId], spec: PixelSpec, progress: Progress
) -> Iterator[UInt8Array]:
    """The first view of each image, in pieces, uint8 [k, H, W, 3]."""
    extensions = tools.store.extension_of(ids)

    def one(image_id: ImageId) -> UInt8Array:
        file = tools.store.blobs.read(image_id, extensions[image_id])
        view: UInt8Array = tools.decoder.decode(file, spec).views[0]
        return view

    workers = usable_cores() + 1
    with progress.task("decode", len(ids)) as task, ThreadPoolExecutor(workers) as pool:
        for part in chunks_of(len(ids), _DECODED_AT_ONCE):
            yield np.stack(list(pool.map(one, ids[part])))
            task.advance(len(ids[part]))


def _register(name: str, model: bytes, parent: Backbone, taught: Collection[ImageId]) -> None:
    """Keep the network among those that were added, and the list of what taught it."""
    backbone = make_backbone(name, model, parent.licence, name)
    engine = open_engine(model, streams=1)
    contender = Contender(engine, backbone.height, backbone.width)
    write_taught(name, taught)
    register(
        BackboneRecord(
            name=name,
            digest=backbone.digest,
            bytes=len(model),
            height=backbone.height,
            width=backbone.width,
            dim=backbone.dim,
            licence=parent.licence,
            source=f"fine-tuned from {parent.name}",
            source_sha256=parent.digest,
            ms_per_image=round(ms_per_image([contender])[0], 3),
            processor=platform.processor() or platform.machine(),
        ),
        model,
    )


def _with(tools: Tools, backbone: Backbone, data: Dataset, progress: Progress) -> Tuned:
    """The same images by another network."""
    featurizer = replace(tools.featurizer, backbone=backbone)
    tools = replace(tools, backbone=backbone, featurizer=featurizer)
    features = featurize_labelled(tools, progress)
    labels = {
        one: cast(Label, int(label)) for one, label in zip(data.image_ids, data.labels, strict=True)
    }
    sides = dict(zip(data.image_ids, data.sides, strict=True))
    table = (features.image_ids, features.matrix)
    return Tuned(tools, features, make_dataset(*table, labels, sides, features.starts))
