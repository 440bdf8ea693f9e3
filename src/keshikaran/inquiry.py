"""Gathers a `Dossier`: the catalogue, the file, the models, the nearest labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from keshikaran.backbones import load_backbone, open_engine
from keshikaran.bundle import Bundle, read_bundle
from keshikaran.dossier import (
    Dossier,
    DossierOptions,
    FileFacts,
    ModelScore,
    NearImage,
    Twin,
)
from keshikaran.errors import BackboneError, BundleError, ImageRefusedError, SourceError
from keshikaran.featurize import Featurizer
from keshikaran.hashing import content_ids
from keshikaran.inference import Outputs, Pipeline, infer_image
from keshikaran.known import Opened, featurizer_of, gather
from keshikaran.labels import find_image
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits, PixelSpec, read_header
from keshikaran.pixels.isolated import open_decoder
from keshikaran.predictor import Predictor
from keshikaran.recognition import Recognizer
from keshikaran.similarity import centred, nearest
from keshikaran.store import FeatureCache, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, ImageId, KnownImage, Label, Progress, SilentProgress


@dataclass(frozen=True, slots=True)
class _Image:
    """The image asked about; `data` None if its stored file is lost or damaged."""

    image_id: ImageId
    data: bytes | None
    file: FileFacts


@dataclass(frozen=True, slots=True)
class _Desk:
    """What is open while we look."""

    workspace: Workspace
    store: Store
    cache: FeatureCache
    decoder: Decoder
    limits: Limits
    bundles: list[Bundle | BundleError]
    models: list[Path]


def image_dossier(
    workspace: Workspace,
    reference: str,
    options: DossierOptions | None = None,
    progress: Progress | None = None,
) -> Dossier:
    """All that a workspace and its models know of one image.

    Args:
        workspace: where to look; it must be there.
        reference: an image file, stored or not, or the start of a stored image's id.
        options: how much is wanted.
        progress: told of long work.

    Raises:
        UsageError: neither a file nor the id of one stored image.
        SourceError: the file cannot be read.
        StoreError: the workspace cannot be used.
        IsolationError: no process can be started to decode images in.
    """
    options = options or DossierOptions()
    with _open(workspace, options) as desk:
        image, stored = _find(desk, reference)
        found = _from_catalogue(desk.store, image, stored=stored)
        outputs = None if stored else _outputs(desk, image)
        features = _features(desk, image, outputs)
        return replace(
            found,
            scores=tuple(_scores(desk, image, options)),
            neighbours=tuple(_neighbours(desk, image, features, options.neighbours)),
            copy_of=None if outputs is None else _copy(desk, image, outputs, progress),
        )


@contextmanager
def _open(workspace: Workspace, options: DossierOptions) -> Iterator[_Desk]:
    models = workspace.models()[: options.models]
    with Store(workspace.folder) as store:
        limits = Limits(formats=DEFAULT_LIMITS.formats | store.formats())
        with (
            closing(open_decoder(options.isolation, limits)) as decoder,
            FeatureCache(workspace.features) as cache,
        ):
            bundles = [_bundle(model) for model in models]
            yield _Desk(workspace, store, cache, decoder, limits, bundles, models)


def _bundle(model: Path) -> Bundle | BundleError:
    try:
        return read_bundle(model)
    except BundleError as error:
        return error


def _find(desk: _Desk, reference: str) -> tuple[_Image, bool]:
    """The image, and whether it is stored."""
    path = Path(reference)
    if _is_file(path):
        try:
            data = path.read_bytes()
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}."
            raise SourceError(msg, "Check the path and its permissions.") from error
        image = _Image(content_ids(data).image_id, data, _facts(data, desk.limits))
        return image, bool(desk.store.known_images([image.image_id]))
    image_id = find_image(desk.store, reference)
    try:
        data = desk.store.blobs.read(image_id, desk.store.extension_of([image_id])[image_id])
    except ImageRefusedError as refusal:
        return _Image(image_id, None, FileFacts(problem=str(refusal))), True
    return _Image(image_id, data, _facts(data, desk.limits)), True


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False


def _facts(data: bytes, limits: Limits) -> FileFacts:
    found = FileFacts(content_ids(data).object_id, len(data))
    try:
        header = read_header(data, limits)
    except ImageRefusedError as refusal:
        return replace(found, problem=str(refusal))
    return replace(
        found,
        format=header.format,
        width=header.width,
        height=header.height,
        frames=header.frames,
    )


def _from_catalogue(store: Store, image: _Image, *, stored: bool) -> Dossier:
    labels, sides = _labels(store), store.splits()
    image_id = image.image_id
    group = store.groups.of_images().get(image_id)
    aside = [item for item in store.set_aside() if item.image_id == image_id]
    return Dossier(
        image_id=image_id,
        stored=stored,
        file=image.file,
        sources=tuple(store.entries_of(image_id)),
        label=labels.get(image_id),
        contradictory=any(item.image_id == image_id for item in store.labels.contradictions()),
        history=tuple(store.labels.history(image_id)),
        group=group,
        twins=() if group is None else tuple(_twins(store, image_id, labels)),
        suspects=tuple(_suspects(store, image_id, labels)),
        split=sides.get(image_id),
        set_aside=aside[0] if aside else None,
        copy_of=None,
        scores=(),
        neighbours=(),
    )


def _labels(store: Store) -> dict[ImageId, Label]:
    return {image.image_id: image.label for image in store.labels.images()}


def _twins(store: Store, image_id: ImageId, labels: dict[ImageId, Label]) -> Iterator[Twin]:
    groups, sides = store.groups.of_images(), store.splits()
    pairs = {
        pair.second if pair.first == image_id else pair.first: pair
        for pair in store.groups.pairs(image_id)
    }
    for other, group in sorted(groups.items()):
        if group == groups[image_id] and other != image_id:
            twin = Twin(other, labels.get(other), sides.get(other))
            pair = pairs.get(other)
            yield (
                twin
                if pair is None
                else replace(
                    twin, turn=pair.turn, agreement=pair.agreement, similarity=pair.similarity
                )
            )


def _suspects(store: Store, image_id: ImageId, labels: dict[ImageId, Label]) -> Iterator[Twin]:
    sides = store.splits()
    for pair in store.suspected.pairs(image_id):
        other = pair.second if pair.first == image_id else pair.first
        seen = (pair.turn, pair.agreement, pair.similarity)
        yield Twin(other, labels.get(other), sides.get(other), *seen)


def _scores(desk: _Desk, image: _Image, options: DossierOptions) -> Iterator[ModelScore]:
    for path, bundle in zip(desk.models, desk.bundles, strict=True):
        if isinstance(bundle, BundleError):
            yield ModelScore(path.stem, None, "undecided", f"the model cannot be read: {bundle}")
        elif image.data is None:
            yield ModelScore(path.stem, None, "undecided", image.file.problem)
        else:
            yield _score(path, image.data, desk.limits, options)


def _score(path: Path, data: bytes, limits: Limits, options: DossierOptions) -> ModelScore:
    try:
        with Predictor.load(path, limits=limits, isolation=options.isolation) as predictor:
            found = predictor.predict(data)
    except (BundleError, BackboneError) as error:
        return ModelScore(path.stem, None, "undecided", f"the model cannot be run: {error}")
    return ModelScore(found.model_id, found.score, found.verdict, found.reason)


def _features(desk: _Desk, image: _Image, outputs: Outputs | None) -> Float32Array | None:
    """Of all views, float32 [V, D]; None if the image cannot be decoded."""
    backbone, recipe = _featurizer(desk).backbone, _featurizer(desk).recipe
    found, matrix, _ = desk.cache.read(recipe, [image.image_id], backbone.dim)
    if found:
        return matrix
    outputs = outputs or _outputs(desk, image)
    return None if outputs is None else outputs[backbone.output]


def _outputs(desk: _Desk, image: _Image) -> Outputs | None:
    """What the network says of the image; None if it cannot be decoded."""
    if image.data is None:
        return None
    featurizer = _featurizer(desk)
    engine = featurizer.open_loaded(featurizer.backbone.model)
    try:
        pipeline = Pipeline(desk.decoder, engine, featurizer.spec, sketched=True)
        return infer_image(image.data, pipeline)
    except ImageRefusedError:
        return None


def _featurizer(desk: _Desk) -> Featurizer:
    """Of the newest model that can be read, whose features are there; else the default one."""
    bundle = _newest(desk)
    if bundle is not None:
        return featurizer_of(bundle, desk.decoder)
    usual = TrainingOptions()
    backbone = load_backbone(usual.backbone)
    spec = PixelSpec(backbone.height, backbone.width, usual.resize_mode)
    return Featurizer(backbone, spec, usual.precision, open_engine, desk.decoder)


def _newest(desk: _Desk) -> Bundle | None:
    return next((found for found in desk.bundles if isinstance(found, Bundle)), None)


def _neighbours(
    desk: _Desk, image: _Image, features: Float32Array | None, count: int
) -> Iterator[NearImage]:
    """Among labelled images whose features are there; by the first view of each."""
    labels = _labels(desk.store)
    others = sorted(labels.keys() - {image.image_id})
    if features is None or not others or not count:
        return
    recipe = _featurizer(desk).recipe
    found, matrix, starts = desk.cache.read(recipe, others, features.shape[1])
    if not found:
        return
    mean = matrix[starts].mean(axis=0)
    rows = centred(matrix[starts], mean)
    numbers, cosines = nearest(rows, centred(features[:1], mean), count)
    for number, cosine in zip(numbers[0].tolist(), cosines[0].tolist(), strict=True):
        image_id = found[number]
        path = next(iter(desk.store.entries_of(image_id)), None)
        yield NearImage(image_id, labels[image_id], cosine, path)


def _copy(
    desk: _Desk, image: _Image, outputs: Outputs, progress: Progress | None
) -> KnownImage | None:
    """The labelled image that a file from outside is a copy of."""
    bundle = _newest(desk)
    data = image.data
    if data is None or bundle is None or not _labels(desk.store):
        return None
    opened = Opened(desk.store, desk.cache, desk.decoder, bundle)
    memory = gather(opened, progress or SilentProgress())
    return Recognizer(memory, desk.decoder).by_pixels(outputs, lambda: data)
