"""The model file: one ONNX graph with everything about it in its metadata.

`keshikaran.manifest` is what it says about itself; writer and reader share it. The file's last
bytes are a metadata entry with the SHA-256 of all bytes before it. A bundle is checked from its
size to its self-test before it is used; docs/model-file.md tells the order.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import onnx

from keshikaran.backbones import Engine, GraphSignature, read_graph
from keshikaran.errors import BackboneError, BundleError
from keshikaran.hashing import write_durably
from keshikaran.manifest import (
    MOST_PARTS,
    SCHEMA_VERSION,
    SELF_TEST_FEATURES,
    Manifest,
    SelfTest,
    parse_manifest,
)
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.signature import SignatureCheck, check_signature
from keshikaran.types import Precision, UInt8Array

__all__ = [
    "DIGEST_KEY",
    "MAX_BUNDLE_BYTES",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "Bundle",
    "Manifest",
    "SelfTest",
    "SignatureCheck",
    "check_self_test",
    "pack",
    "parse_bundle",
    "read_bundle",
    "run_self_test",
    "seal",
    "self_test_pixels",
    "write_bundle",
]

METADATA_KEY = "keshikaran"
DIGEST_KEY = "keshikaran_sha256"
MAX_BUNDLE_BYTES = 1_500_000_000

_SCORE_TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "bf16": 0.15}
_FEATURE_TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "bf16": 0.75}
_DIGEST_BYTES = 64
# The last metadata entry as it is encoded: field 14, its length, then key and value with theirs.
_ENTRY = bytes([0x0A, len(DIGEST_KEY)]) + DIGEST_KEY.encode() + bytes([0x12, _DIGEST_BYTES])
_SEAL = bytes([0x72, len(_ENTRY) + _DIGEST_BYTES]) + _ENTRY


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
    ours = {METADATA_KEY, DIGEST_KEY}
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key not in ours]
    onnx.helper.set_model_props(model, dict([*kept, (METADATA_KEY, manifest.to_json())]))
    return seal(cast("bytes", model.SerializeToString(deterministic=True)))


def seal(model: bytes) -> bytes:
    """Append the digest to a serialised model that has none."""
    sealed = model + _SEAL
    return sealed + hashlib.sha256(sealed).hexdigest().encode()


def write_bundle(path: Path, data: bytes) -> None:
    """Write a packed bundle durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, data)


def read_bundle(path: Path, signature: SignatureCheck | None = None) -> Bundle:
    """Read and check a model file; nothing but the file itself is opened.

    Args:
        path: the file.
        signature: what must vouch for it; None asks for nothing.

    Raises:
        BundleError: missing, damaged, unsafe, not a keshikaran model, of another version, or
            not signed as asked.
        MissingExtraError: a signature is asked for and the package to check it is missing.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            msg = f"The model {path} cannot be read: it is not a plain file."
            raise BundleError(msg, "Check the path given to --model.")
        with path.open("rb") as file:
            data = _read_once(file, path)
    except OSError as error:
        msg = f"The model {path} cannot be read: {error.strerror}."
        raise BundleError(msg, "Check the path given to --model.") from error
    if signature is not None:
        check_signature(data, signature, str(path))
    return parse_bundle(data, str(path))


def _read_once(file: BinaryIO, path: Path) -> bytes:
    """The whole file, unless its size or its end already says that it is none of ours."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BUNDLE_BYTES:
        msg = f"{path} is larger than {MAX_BUNDLE_BYTES:,} bytes."
        raise BundleError(msg, "Check that it is the right file.")
    file.seek(max(0, size - len(_SEAL) - _DIGEST_BYTES))
    _check_end(file.read(len(_SEAL) + _DIGEST_BYTES), str(path))
    file.seek(0)
    return file.read(size)


def parse_bundle(data: bytes, origin: str) -> Bundle:
    """Check the bytes of a model file; see `read_bundle`."""
    digest = _check_digest(data, origin)
    try:
        model, signature = read_graph(data, origin, MOST_PARTS)
    except BackboneError as error:
        raise BundleError(error.what, error.hint) from error
    notes = [(entry.key, entry.value) for entry in model.metadata_props]
    texts = [value for key, value in notes if key == METADATA_KEY]
    if len(texts) != 1 or [value for key, value in notes if key == DIGEST_KEY] != [digest]:
        msg = f"{origin} is an ONNX file, but not a keshikaran model."
        raise BundleError(msg, "Use a file that `keshikaran train` wrote.")
    manifest = parse_manifest(texts[0], origin, _dim(signature))
    _check_fit(manifest, signature, origin)
    return Bundle(manifest, data)


def _check_end(end: bytes, origin: str) -> None:
    if len(end) != len(_SEAL) + _DIGEST_BYTES or not end.startswith(_SEAL):
        msg = f"{origin} is not a keshikaran model, or a part of one: its end has no digest."
        raise BundleError(msg, "Use a whole file that `keshikaran train` wrote.")


def _check_digest(data: bytes, origin: str) -> str:
    """Refuse bytes that are not the ones that were sealed; gives their digest."""
    _check_end(data[-len(_SEAL) - _DIGEST_BYTES :], origin)
    digest = hashlib.sha256(memoryview(data)[:-_DIGEST_BYTES]).hexdigest()
    if data[-_DIGEST_BYTES:] != digest.encode():
        msg = f"{origin} is damaged, or was changed after it was made: its digest does not fit."
        raise BundleError(msg, "Copy it again from where it was made.")
    return digest


def self_test_pixels(height: int, width: int) -> UInt8Array:
    """A picture made of integer arithmetic, the same on every machine.

    Returns:
        uint8 [1, height, width, 3].
    """
    rows, columns, channels = np.ogrid[:height, :width, :3]
    wave = (rows * rows // 97 + columns * 5 + rows * columns // 61 + channels * 83) % 256
    pixels: UInt8Array = wave.astype(np.uint8)[None]
    return pixels


def run_self_test(engine: Engine, height: int, width: int, *beside: tuple[int, int]) -> SelfTest:
    """Ask a loaded model for its answer to the self-test picture.

    Args:
        engine: it, loaded.
        height: rows that its first input wants.
        width: columns of the same.
        beside: rows and columns of each further input.
    """
    further = [self_test_pixels(*sides) for sides in beside]
    outputs = engine.infer(self_test_pixels(height, width), *further)
    features = outputs["features"][0, :SELF_TEST_FEATURES]
    return SelfTest(float(outputs["score"][0]), [float(value) for value in features])


def sides_of(manifest: Manifest) -> list[tuple[int, int]]:
    """Rows and columns that each input of a model wants."""
    return [(shape.height, shape.width) for shape in manifest.pixels.shapes]


def _dim(signature: GraphSignature) -> int:
    """How many features a graph gives; 0 where it gives none that can be counted."""
    features = signature.outputs.get("features", ())
    return features[0] if len(features) == 1 else 0


def check_self_test(bundle: Bundle, engine: Engine) -> None:
    """Refuse a model that answers otherwise than when it was made.

    Raises:
        BundleError: the engine's answer is off, not a number, or of another shape.
    """
    manifest = bundle.manifest
    hint = "The file is damaged or the engine is at fault; copy it again."
    try:
        first, *beside = sides_of(manifest)
        found = run_self_test(engine, *first, *beside)
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


def _check_fit(manifest: Manifest, signature: GraphSignature, origin: str) -> None:
    if manifest.pixel_contract != PIXEL_CONTRACT_VERSION:
        msg = (
            f"{origin} wants pixel contract {manifest.pixel_contract}; this program has"
            f" {PIXEL_CONTRACT_VERSION}."
        )
        raise BundleError(msg, "Use the version of keshikaran that trained it, or train again.")
    shapes_fit = list(signature.inputs.values()) == sides_of(manifest)
    features = signature.outputs.get("features", ())
    answers = len(manifest.self_test.features)
    outputs_fit = (
        set(signature.outputs) == {"score", "features"}
        and signature.outputs["score"] == ()
        and features == (manifest.dim,)
        and answers == min(SELF_TEST_FEATURES, features[0])
    )
    lead = manifest.parts[0]["features"]
    reference_fits = not manifest.reference or manifest.reference["dim"] == lead
    if not (shapes_fit and outputs_fit and reference_fits):
        msg = f"{origin}: the graph does not fit its manifest."
        raise BundleError(msg, "The file is damaged; copy it again.")
