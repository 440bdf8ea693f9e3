"""What a bundle says about itself: the fields, and reading them from a file nobody vouches for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from keshikaran.drift_reference import reference_of
from keshikaran.errors import BundleError
from keshikaran.pixels import RESIZE_MODES, PixelSpec
from keshikaran.types import Precision, Thresholds

SCHEMA_VERSION = 4
MOST_PARTS = 8
_LAST_OF_ONE_PART = 3
"""The schema before files could hold several networks or shapes; still read."""
MAX_MANIFEST_CHARACTERS = 1_000_000
SELF_TEST_FEATURES = 16

_MAX_DEPTH = 16
_MAX_SIDE = 4096
_MOST_FEATURES = 2**20
_MAX_TEXT = 10_000
_MODEL_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_HINT = "Use a file that `keshikaran train` wrote."


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
        promises: what became of each demand of the policy, as `promises.Outcome` has it.
        prevalence: share of objectionable images among uploads that the score assumes.
        calibration: the map of logits that is folded into the head, and `label_prevalence`, the
            share of objectionable images among those it was fitted on.
        reference: what scores and features of labelled images look like, to tell drift by; empty
            where nothing was kept.
        pixel_contract: version of the decoding rules.
        inputs: height, width and resize mode of what each input of the graph takes.
        backbones: name, digest, licence of each frozen network.
        parts: what the features are made of, in their order: number of a network, number of the
            input that it looks at, and how many features that gives.
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
    promises: list[dict[str, Any]]
    prevalence: float
    calibration: dict[str, Any]
    reference: dict[str, Any]
    pixel_contract: int
    inputs: list[dict[str, Any]]
    backbones: list[dict[str, str]]
    parts: list[dict[str, int]]
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
        """The pixels the graph wants: a shape for each input."""
        first, *beside = [PixelSpec(**shape) for shape in self.inputs]
        return replace(first, beside=tuple(beside))

    @property
    def lead(self) -> PixelSpec:
        """The pixels of the first part."""
        return self.pixels.shapes[self.parts[0]["input"]]

    @property
    def backbone(self) -> dict[str, str]:
        """The network of the first part."""
        return self.backbones[self.parts[0]["backbone"]]

    @property
    def dim(self) -> int:
        """How many features there are."""
        return sum(part["features"] for part in self.parts)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, no NaN."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_manifest(text: str, origin: str, dim: int = 0) -> Manifest:
    """Read a manifest, and refuse one that code could stumble over.

    Fields that this version does not know are ignored; all it knows must be there and fit.

    Args:
        text: the JSON.
        origin: the file's name, for messages.
        dim: how many features the graph gives; older files do not say it.

    Raises:
        BundleError: no JSON object, too large or deep, of another version, or with a field that
            is missing, of the wrong type or out of its range.
    """
    try:
        raw = _read_json(text)
        _check_version(raw, origin)
        if raw["schema"] == _LAST_OF_ONE_PART:
            raw = _of_one_part(raw, dim)
        for name, fits in _FIELDS.items():
            if not fits(raw[name]):
                msg = f"bad {name}"
                raise ValueError(msg)
        values = {item.name: raw[item.name] for item in fields(Manifest)}
        values["thresholds"] = Thresholds(**values["thresholds"])
        values["self_test"] = SelfTest(**values["self_test"])
        _check_parts(values)
        return Manifest(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"{origin}: the manifest is damaged ({_words(error)})."
        raise BundleError(msg, _HINT) from error


def _read_json(text: str) -> dict[str, Any]:
    if len(text) > MAX_MANIFEST_CHARACTERS:
        msg = f"more than {MAX_MANIFEST_CHARACTERS:,} characters"
        raise ValueError(msg)
    raw = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    if not isinstance(raw, dict):
        msg = "no JSON object"
        raise ValueError(msg)
    _check_values(raw)
    return raw


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a key is given twice"
        raise ValueError(msg)
    return found


def _no_constant(word: str) -> float:
    msg = f"{word} is not a number"
    raise ValueError(msg)


def _check_values(raw: dict[str, Any]) -> None:
    """No endless nesting, no number that has become infinite on reading."""
    todo: list[tuple[Any, int]] = [(raw, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > _MAX_DEPTH:
            msg = f"nested more than {_MAX_DEPTH} deep"
            raise ValueError(msg)
        if isinstance(value, float) and not math.isfinite(value):
            msg = "a number is too large"
            raise ValueError(msg)
        inside = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            todo += [(item, depth + 1) for item in inside]


def _check_version(raw: dict[str, Any], origin: str) -> None:
    schema = raw["schema"]
    if not _is_whole(schema, 1):
        msg = "bad schema"
        raise ValueError(msg)
    if schema > SCHEMA_VERSION:
        msg = f"{origin} was written by a newer version of keshikaran."
        raise BundleError(msg, "Update keshikaran.")
    if schema < _LAST_OF_ONE_PART:
        msg = f"{origin} was written by a version of keshikaran before the first release."
        raise BundleError(msg, "Train again: keshikaran train. Features are not computed anew.")


def _of_one_part(raw: dict[str, Any], dim: int) -> dict[str, Any]:
    """The same in today's words."""
    shape = {name: raw[name] for name in ("height", "width", "resize_mode")}
    return {
        **raw,
        "schema": SCHEMA_VERSION,
        "inputs": [shape],
        "backbones": [raw["backbone"]],
        "parts": [{"backbone": 0, "input": 0, "features": dim}],
    }


def _check_parts(values: dict[str, Any]) -> None:
    """Every part names what is there, and nothing is there that no part names."""
    for things, name in (("inputs", "input"), ("backbones", "backbone")):
        if {part[name] for part in values["parts"]} != {*range(len(values[things]))}:
            msg = f"bad parts: they do not fit {things}"
            raise ValueError(msg)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


def _is_whole(value: object, least: int, most: int = 2**53) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object, least: float = -3e38, most: float = 3e38) -> bool:
    """Within what a float32 holds, so that arithmetic on it stays finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= most


def _is_share(value: object) -> bool:
    return _is_number(value, 0, 1)


def _is_side(value: object) -> bool:
    return _is_whole(value, 1, _MAX_SIDE)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_calibration(value: object) -> bool:
    return _has(
        value,
        kind=_is_text,
        below=_is_number,
        above=_is_number,
        shift=_is_number,
        label_prevalence=_is_share,
        log_loss=_is_object,
    )


def _is_reference(value: object) -> bool:
    """Nothing, or one that can be read."""
    if not isinstance(value, dict):
        return False
    if value:
        reference_of(value)
    return True


def _is_few(value: object, fits: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= MOST_PARTS and all(map(fits, value))


def _is_shape(value: object) -> bool:
    return _has(value, height=_is_side, width=_is_side, resize_mode=_is_resize_mode)


def _is_resize_mode(value: object) -> bool:
    return isinstance(value, str) and value in RESIZE_MODES


def _is_backbone(value: object) -> bool:
    return _has(value, name=_is_text, digest=_is_text, licence=_is_text)


def _is_part(value: object) -> bool:
    return _has(value, backbone=_is_place, input=_is_place, features=_is_dim)


def _is_place(value: object) -> bool:
    return _is_whole(value, 0, MOST_PARTS)


def _is_dim(value: object) -> bool:
    return _is_whole(value, 1, _MOST_FEATURES)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _has(value: object, **parts: Callable[[object], bool]) -> bool:
    """Whether it is an object of exactly these parts."""
    if not isinstance(value, dict) or set(value) != set(parts):
        return False
    return all(fits(value[name]) for name, fits in parts.items())


def _are_classes(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"0", "1"}
        and all(map(_is_text, [*value.values()]))
    )


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(_is_whole(count, 0) for count in value.values())


def _are_features(value: object) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= SELF_TEST_FEATURES:
        return False
    return all(map(_is_number, value))


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "model_id": lambda value: isinstance(value, str) and _MODEL_ID.fullmatch(value) is not None,
    "created": _is_text,
    "keshikaran_version": _is_text,
    "classes": _are_classes,
    "thresholds": lambda value: _has(value, review=_is_share, block=_is_share),
    "thresholds_chosen_for": _is_text,
    "policy": _is_object,
    "promises": _are_objects,
    "prevalence": _is_share,
    "calibration": _is_calibration,
    "reference": _is_reference,
    "pixel_contract": lambda value: _is_whole(value, 1),
    "inputs": lambda value: _is_few(value, _is_shape),
    "backbones": lambda value: _is_few(value, _is_backbone),
    "parts": lambda value: _is_few(value, _is_part),
    "precision": lambda value: isinstance(value, str) and value in get_args(Precision),
    "recipe": _is_object,
    "training_set": _is_object,
    "split": lambda value: isinstance(value, dict) and all(map(_are_counts, value.values())),
    "metrics": _is_object,
    "self_test": lambda value: _has(value, score=_is_share, features=_are_features),
    "licence": _is_text,
}
"""What every field must be: code relies on some, people are shown all."""


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)[:200]
