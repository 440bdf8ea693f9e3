"""Was this model file signed by the holder of a key? Asked of the bytes that will run.

The digest inside a bundle tells damage; only a signature tells who made it. Checking is the work
of the package `model-signing`; it needs no network. docs/model-file.md says how to sign.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import BundleError, MissingExtraError

_MAX_SMALL_FILE_BYTES = 1_000_000

_logger = logging.getLogger("keshikaran")


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """A signature that must hold before a model is used.

    Attributes:
        signature: the file that `model_signing sign key` wrote.
        public_key: the signer's public key, PEM, on one of the curves P-256, P-384 and P-521.
    """

    signature: Path
    public_key: Path


def check_signature(data: bytes, asked: SignatureCheck, origin: str) -> None:
    """Refuse bytes that the holder of the key did not sign.

    The package reads files, and a file can change between two reads: it is given a private copy
    of the very bytes that will run.

    Args:
        data: the whole model file.
        asked: which signature, by which key.
        origin: the model's name, for messages.

    Raises:
        BundleError: the signature is missing, damaged, by another key or for another file.
        MissingExtraError: the package that checks signatures is not installed.
    """
    signature = _read(asked.signature, "signature")
    key = _read(asked.public_key, "public key")
    try:
        from model_signing import verifying
    except ImportError as error:
        what = "Checking a signature"
        raise MissingExtraError(what, "signing") from error
    talk = io.StringIO()
    try:
        with tempfile.TemporaryDirectory(prefix="keshikaran-") as name:
            folder = Path(name)
            for file, content in (("model", data), ("signature", signature), ("key", key)):
                (folder / file).write_bytes(content)
            with contextlib.redirect_stdout(talk):  # it prints, and stdout is for results
                config = verifying.Config().use_elliptic_key_verifier(public_key=folder / "key")
                config.verify(folder / "model", folder / "signature")
    except Exception as error:  # it raises whatever the parts below it raise
        msg = f"The signature {asked.signature} does not vouch for {origin}: {_why(error)}."
        hint = "Do not use the model, unless the wrong signature or key was given."
        raise BundleError(msg, hint) from error
    if talk.getvalue().strip():
        _logger.info("model-signing says: %s", talk.getvalue().strip())


def _read(path: Path, what: str) -> bytes:
    hint = "Check the paths given to --signature and --public-key."
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SMALL_FILE_BYTES + 1)
    except OSError as error:
        msg = f"The {what} {path} cannot be read: {error.strerror}."
        raise BundleError(msg, hint) from error
    if len(data) > _MAX_SMALL_FILE_BYTES:
        msg = f"The {what} {path} has more than {_MAX_SMALL_FILE_BYTES:,} bytes."
        raise BundleError(msg, hint)
    return data


def _why(error: Exception) -> str:
    if "mismatch: [" in str(error):
        return "the model is not the file that was signed"
    if type(error).__name__ == "InvalidSignature":
        return "it was changed, or made with another key"
    return " ".join(str(error).split())[:150].rstrip(". ") or type(error).__name__
