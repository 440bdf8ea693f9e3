"""The model file: one ONNX graph with everything about it in its metadata.

`Manifest` is the on-disk format; writer and reader share it. A bundle is checked and answers
its self-test before it is used.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from keshikaran.backbones import Engine, GraphSignature, read_graph
from keshikaran.errors import BackboneError, BundleError
from keshikaran.hashing import write_durably
from keshikaran.pixels import PIXEL_CONTRACT_VERSION, RESIZE_MODES, PixelSpec, ResizeMode
from keshikaran.types import Precision, Thresholds, UInt8Array

SCHEMA_VERSION = 1
METADATA_KEY = "keshikaran"
MAX_BUNDLE_BYTES = 1_500_000_000

_SCORE_TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "bf16": 0.15}
_FEATURE_TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "bf16": 0.75}
_SELF_TEST_FEATURES = 16


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the model answered to `self_test_pixels` when it was made.

    Attributes:
        score: the probability.
        features: the first 16 features.
    """

    score: float
    features: list[float]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a bundle says about itself.

    Attributes:
        model_id: starts with the time of making, ends with a digest of what was learned.
        created: ISO 8601, UTC.
        keshikaran_version: of the program that wrote it.
        classes: label as text → meaning in words.
        thresholds: the two cuts on the score.
        thresholds_chosen_for: what they were chosen for, in words.
        policy: the policy it was trained under.
        prevalence: share of objectionable images that the score assumes.
        pixel_contract: version of the decoding rules.
        height: rows of the input.
        width: columns of the input.
        resize_mode: how images get that shape.
        backbone: name, digest, licence of the frozen network.
        precision: arithmetic that the features were computed in.
        recipe: how the head was fitted, with its settings.
        training_set: digest over the images and labels, and the split's scheme.
        split: images on each side by label.
        metrics: figures on validation and test.
        self_test: see `SelfTest`.
        licence: of the model file's weights.
        schema: version of this format.
    """

    model_id: str
    created: str
    keshikaran_version: str
    classes: dict[str, str]
    thresholds: Thresholds
    thresholds_chosen_for: str
    policy: dict[str, Any]
    prevalence: float
    pixel_contract: int
    height: int
    width: int
    resize_mode: ResizeMode
    backbone: dict[str, str]
    precision: Precision
    recipe: dict[str, Any]
    training_set: dict[str, Any]
    split: dict[str, dict[str, int]]
    metrics: dict[str, Any]
    self_test: SelfTest
    licence: str
    schema: int = field(default=SCHEMA_VERSION)

    @property
    def pixels(self) -> PixelSpec:
        """The pixels the graph wants."""
        return PixelSpec(self.height, self.width, self.resize_mode)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, no NaN."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model file that passed its checks.

    Attributes:
        manifest: what it says about itself.
        model: the ONNX file's bytes.
    """

    manifest: Manifest
    model: bytes


def pack(graph: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The bytes of a bundle."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != METADATA_KEY]
    onnx.helper.set_model_props(model, dict([*kept, (METADATA_KEY, manifest.to_json())]))
    return cast("bytes", model.SerializeToString(deterministic=True))


def write_bundle(path: Path, data: bytes) -> None:
    """Write a packed bundle durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, data)


def read_bundle(path: Path) -> Bundle:
    """Read and check a model file; nothing but the file itself is opened.

    Raises:
        BundleError: missing, damaged, unsafe, not a keshikaran model, or from a newer version.
    """
    try:
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            msg = f"{path} is larger than {MAX_BUNDLE_BYTES:,} bytes."
            raise BundleError(msg, "Check that it is the right file.")
        data = path.read_bytes()
    except OSError as error:
        msg = f"The model {path} cannot be read: {error.strerror}."
        raise BundleError(msg, "Check the path given to --model.") from error
    return parse_bundle(data, str(path))


def parse_bundle(data: bytes, origin: str) -> Bundle:
    """Check the bytes of a model file; see `read_bundle`."""
    try:
        model, signature = read_graph(data, origin)
    except BackboneError as error:
        raise BundleError(error.what, error.hint) from error
    text = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), None)
    if text is None:
        msg = f"{origin} is an ONNX file, but not a keshikaran model."
        raise BundleError(msg, "Use a file that `keshikaran train` wrote.")
    manifest = _parse_manifest(text, origin)
    _check_fit(manifest, signature, origin)
    return Bundle(manifest, data)


def self_test_pixels(height: int, width: int) -> UInt8Array:
    """A picture made of integer arithmetic, the same on every machine.

    Returns:
        uint8 [1, height, width, 3].
    """
    rows, columns, channels = np.ogrid[:height, :width, :3]
    wave = (rows * rows // 97 + columns * 5 + rows * columns // 61 + channels * 83) % 256
    pixels: UInt8Array = wave.astype(np.uint8)[None]
    return pixels


def run_self_test(engine: Engine, height: int, width: int) -> SelfTest:
    """Ask a loaded model for its answer to the self-test picture."""
    outputs = engine.infer(self_test_pixels(height, width))
    features = outputs["features"][0, :_SELF_TEST_FEATURES]
    return SelfTest(float(outputs["score"][0]), [float(value) for value in features])


def check_self_test(bundle: Bundle, engine: Engine) -> None:
    """Refuse a model that answers otherwise than when it was made.

    Raises:
        BundleError: the engine's answer is off, not a number, or of another shape.
    """
    manifest = bundle.manifest
    hint = "The file is damaged or the engine is at fault; copy it again."
    try:
        found = run_self_test(engine, manifest.height, manifest.width)
        score_off = abs(found.score - manifest.self_test.score)
        features_off = _farthest(found.features, manifest.self_test.features)
    except Exception as error:  # what engines raise shares no base class
        msg = f"The model {manifest.model_id} cannot answer its self-test: {error}"
        raise BundleError(msg, hint) from error
    same = engine.precision == manifest.precision == "f32"
    kind: Precision = "f32" if same else "bf16"
    if not (score_off <= _SCORE_TOLERANCE[kind] and features_off <= _FEATURE_TOLERANCE[kind]):
        msg = (
            f"The model {manifest.model_id} fails its self-test: score {found.score:.4f}"
            f" instead of {manifest.self_test.score:.4f}, features off by {features_off:.4f}."
        )
        raise BundleError(msg, hint)


def _farthest(found: list[float], expected: list[float]) -> float:
    """The largest difference; NaN if any number is."""
    if len(found) != len(expected):
        msg = f"it gives {len(found)} features instead of {len(expected)}"
        raise ValueError(msg)
    return float(np.abs(np.subtract(found, expected)).max())


def _parse_manifest(text: str, origin: str) -> Manifest:
    hint = "Use a file that `keshikaran train` wrote."
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            msg = f"{origin}: the manifest is no JSON object."
            raise BundleError(msg, hint)
        if raw.get("schema", 0) > SCHEMA_VERSION:
            msg = f"{origin} was written by a newer version of keshikaran."
            raise BundleError(msg, "Update keshikaran.")
        known = {item.name for item in fields(Manifest)}
        values = {key: value for key, value in raw.items() if key in known}
        values["thresholds"] = Thresholds(**values["thresholds"])
        values["self_test"] = SelfTest(**values["self_test"])
        manifest = Manifest(**values)
        _check_types(manifest)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"{origin}: the manifest is damaged ({error})."
        raise BundleError(msg, hint) from error
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Values that code relies on; everything else in the manifest is only shown."""
    problems = [
        name
        for name, good in (
            ("schema", manifest.schema == SCHEMA_VERSION),
            ("model_id", isinstance(manifest.model_id, str)),
            ("precision", manifest.precision in {"f32", "bf16"}),
            ("resize_mode", manifest.resize_mode in RESIZE_MODES),
            ("height", isinstance(manifest.height, int) and 1 <= manifest.height <= 4096),
            ("width", isinstance(manifest.width, int) and 1 <= manifest.width <= 4096),
            ("self_test", _are_numbers(manifest.self_test)),
        )
        if not good
    ]
    if problems:
        msg = f"bad {problems[0]}"
        raise ValueError(msg)


def _are_numbers(answer: SelfTest) -> bool:
    features: object = answer.features
    if not isinstance(features, list) or not features:
        return False
    return all(isinstance(value, int | float) for value in [answer.score, *features])


def _check_fit(manifest: Manifest, signature: GraphSignature, origin: str) -> None:
    if manifest.pixel_contract != PIXEL_CONTRACT_VERSION:
        msg = (
            f"{origin} wants pixel contract {manifest.pixel_contract}; this program has"
            f" {PIXEL_CONTRACT_VERSION}."
        )
        raise BundleError(msg, "Use the version of keshikaran that trained it, or train again.")
    outputs = signature.outputs
    shapes_fit = (signature.height, signature.width) == (manifest.height, manifest.width)
    if outputs.get("score") != () or len(outputs.get("features", ())) != 1 or not shapes_fit:
        msg = f"{origin}: the graph does not fit its manifest."
        raise BundleError(msg, "The file is damaged; copy it again.")
