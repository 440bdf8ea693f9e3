"""A signature that is asked for must hold for the very bytes that run, or nothing runs."""

from __future__ import annotations

import builtins
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from model_signing import signing

from bundle_support import packed
from cli_support import cli
from keshikaran.bundle import read_bundle
from keshikaran.errors import BundleError, KeshikaranError, MissingExtraError
from keshikaran.predictor import Predictor
from keshikaran.signature import SignatureCheck, check_signature
from keshikaran.training import TrainingResult
from support import encode, reddish

Captured = pytest.CaptureFixture[str]


def _write_key(folder: Path, curve: ec.EllipticCurve | None = None) -> Path:
    """A new pair of keys, `key.pem` and `key.pub`; gives the public one."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "key.pub").write_bytes(_public(key.public_key()))
    return folder / "key.pub"


def _public(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _sign(model: Path, key_folder: Path, signature: Path) -> None:
    config = signing.Config().use_elliptic_key_signer(private_key=key_folder / "key.pem")
    config.sign(model, signature)


@dataclass(frozen=True)
class Signed:
    """A model, who signed it, and where all that lies."""

    folder: Path
    model: Path
    check: SignatureCheck

    @property
    def options(self) -> list[str]:
        """What asks for the signature on the command line."""
        return [
            "--signature",
            str(self.check.signature),
            "--public-key",
            str(self.check.public_key),
        ]


@pytest.fixture
def signed(trained: TrainingResult, tmp_path: Path) -> Signed:
    model = tmp_path / "model.onnx"
    shutil.copyfile(trained.model_path, model)
    public = _write_key(tmp_path)
    _sign(model, tmp_path, tmp_path / "model.sig")
    return Signed(tmp_path, model, SignatureCheck(tmp_path / "model.sig", public))


def _refusal(model: Path, check: SignatureCheck) -> KeshikaranError:
    with pytest.raises(BundleError) as caught:
        Predictor.load(model, signature=check)
    assert caught.value.hint
    return caught.value


def test_model_with_a_good_signature_runs(signed: Signed) -> None:
    predictor = Predictor.load(signed.model, signature=signed.check)
    assert predictor.predict(encode(reddish(1))).verdict == "block"


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_larger_keys_work(signed: Signed, curve: ec.EllipticCurve) -> None:
    public = _write_key(signed.folder, curve)
    _sign(signed.model, signed.folder, signed.check.signature)
    assert read_bundle(signed.model, SignatureCheck(signed.check.signature, public)).manifest


def test_signature_does_not_depend_on_the_files_name(signed: Signed) -> None:
    moved = signed.model.rename(signed.folder / "elsewhere.bin")
    assert Predictor.load(moved, signature=signed.check).manifest.model_id


def test_no_network_is_needed(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("somebody tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert read_bundle(signed.model, signed.check).manifest


def test_another_model_of_the_same_maker_is_refused(signed: Signed) -> None:
    """Its digest fits, so that only the signature can tell."""
    signed.model.write_bytes(packed())
    assert read_bundle(signed.model).manifest
    refusal = _refusal(signed.model, signed.check)
    assert str(signed.check.signature) in refusal.what
    assert "the model is not the file that was signed" in refusal.what


def test_signature_by_another_key_is_refused(signed: Signed) -> None:
    other = _write_key(signed.folder / "other")
    refusal = _refusal(signed.model, SignatureCheck(signed.check.signature, other))
    assert "does not vouch for" in refusal.what
    assert "Key mismatch" in refusal.what


def test_forged_key_hint_does_not_help(signed: Signed) -> None:
    """The name of the key inside a signature is not signed itself."""
    other = _write_key(signed.folder / "other")
    theirs = json.loads(signed.check.signature.read_text())
    theirs["verificationMaterial"]["publicKey"]["hint"] = ""
    signed.check.signature.write_text(json.dumps(theirs))
    refusal = _refusal(signed.model, SignatureCheck(signed.check.signature, other))
    assert "it was changed, or made with another key" in refusal.what


def _change_payload(signature: dict[str, Any]) -> None:
    payload = signature["dsseEnvelope"]["payload"]
    signature["dsseEnvelope"]["payload"] = payload[:-8] + "AAAAAA=="


def _no_signatures(signature: dict[str, Any]) -> None:
    signature["dsseEnvelope"]["signatures"] = []


def _nothing_inside(signature: dict[str, Any]) -> None:
    signature.clear()


@pytest.mark.parametrize("change", [_change_payload, _no_signatures, _nothing_inside])
def test_damaged_signature_is_refused(
    signed: Signed, change: Callable[[dict[str, Any]], None]
) -> None:
    theirs = json.loads(signed.check.signature.read_text())
    change(theirs)
    signed.check.signature.write_text(json.dumps(theirs))
    assert "does not vouch for" in _refusal(signed.model, signed.check).what


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b"{" * 1000])
def test_file_that_is_no_signature_is_refused(signed: Signed, content: bytes) -> None:
    signed.check.signature.write_bytes(content)
    assert "does not vouch for" in _refusal(signed.model, signed.check).what


def test_every_flipped_character_of_a_signature_is_refused(signed: Signed) -> None:
    """Of the signature proper; spaces and the like around it have no meaning."""
    text = signed.check.signature.read_text()
    value = json.loads(text)["dsseEnvelope"]["signatures"][0]["sig"]
    at = text.index(value)
    for index in range(at, at + len(value) - 4, 7):
        other = "A" if text[index] != "A" else "B"
        signed.check.signature.write_text(text[:index] + other + text[index + 1 :])
        assert "does not vouch for" in _refusal(signed.model, signed.check).what


def test_key_of_another_kind_is_refused(signed: Signed) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    signed.check.public_key.write_bytes(_public(key))
    assert "does not vouch for" in _refusal(signed.model, signed.check).what


def test_signed_folder_does_not_vouch_for_a_file_in_it(signed: Signed) -> None:
    inside = signed.folder / "inside"
    inside.mkdir()
    shutil.copyfile(signed.model, inside / "model.onnx")
    _sign(inside, signed.folder, signed.check.signature)
    assert "does not vouch for" in _refusal(signed.model, signed.check).what


@pytest.mark.parametrize("missing", ["signature", "public key"])
def test_missing_file_is_named(signed: Signed, missing: str) -> None:
    path = signed.check.signature if missing == "signature" else signed.check.public_key
    path.unlink()
    refusal = _refusal(signed.model, signed.check)
    assert f"The {missing} {path} cannot be read: No such file" in refusal.what
    assert "--signature" in refusal.hint


def test_enormous_signature_is_refused_unread(signed: Signed) -> None:
    with signed.check.signature.open("r+b") as file:
        file.truncate(2_000_000_000)
    assert "has more than 1,000,000 bytes" in _refusal(signed.model, signed.check).what


def test_file_that_changes_after_it_was_read_changes_nothing(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was signed is judged and run, though the path holds something else by then."""
    before = signed.model.read_bytes()

    def swap_first(data: bytes, asked: SignatureCheck, origin: str) -> None:
        signed.model.write_bytes(packed())
        check_signature(data, asked, origin)

    monkeypatch.setattr("keshikaran.bundle.check_signature", swap_first)
    assert read_bundle(signed.model, signed.check).model == before

    def swap_back(data: bytes, asked: SignatureCheck, origin: str) -> None:
        signed.model.write_bytes(before)
        check_signature(data, asked, origin)

    signed.model.write_bytes(packed())
    monkeypatch.setattr("keshikaran.bundle.check_signature", swap_back)
    with pytest.raises(BundleError, match="is not the file that was signed"):
        read_bundle(signed.model, signed.check)


def test_signature_is_checked_before_the_network_is_parsed(signed: Signed) -> None:
    data = bytearray(signed.model.read_bytes())
    data[100] ^= 1
    signed.model.write_bytes(data)
    assert "does not vouch for" in _refusal(signed.model, signed.check).what


def test_nothing_stays_behind(
    signed: Signed, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(place))
    read_bundle(signed.model, signed.check)
    signed.model.write_bytes(packed())
    _refusal(signed.model, signed.check)
    assert list(place.iterdir()) == []


def test_missing_package_names_the_extra(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("model_signing"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"keshikaran\[signing\]") as caught:
        read_bundle(signed.model, signed.check)
    assert caught.value.exit_code == 1
    assert read_bundle(signed.model).manifest


# As typed


def test_command_line_runs_a_signed_model(signed: Signed, capsys: Captured) -> None:
    image = signed.folder / "a.png"
    image.write_bytes(encode(reddish(1)))
    done = cli(capsys, "predict", image, "--model", signed.model, "--json", *signed.options)
    assert done.code == 0
    assert json.loads(done.out)["verdict"] == "block"


def test_command_line_refuses_a_model_that_is_not_signed(signed: Signed, capsys: Captured) -> None:
    image = signed.folder / "a.png"
    image.write_bytes(encode(reddish(1)))
    signed.model.write_bytes(packed())
    done = cli(capsys, "predict", image, "--model", signed.model, *signed.options)
    assert (done.code, done.out) == (1, "")
    assert "does not vouch for" in done.err


def test_old_signatures_talk_does_not_reach_stdout(signed: Signed, capsys: Captured) -> None:
    """For a signature without the key's name the package prints a warning where results go."""
    theirs = json.loads(signed.check.signature.read_text())
    theirs["verificationMaterial"]["publicKey"]["hint"] = ""
    signed.check.signature.write_text(json.dumps(theirs))
    read_bundle(signed.model, signed.check)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("option", ["--signature", "--public-key"])
def test_one_option_without_the_other_is_wrong_usage(
    signed: Signed, capsys: Captured, option: str
) -> None:
    done = cli(capsys, "predict", "a.png", "--model", signed.model, option, "file")
    assert done.code == 2
    assert "need each other" in done.err


def test_documented_commands_sign_what_is_then_accepted(signed: Signed, tmp_path: Path) -> None:
    """The commands of docs/model-file.md, with openssl's part done by `cryptography`."""
    document = Path(__file__).parent.parent / "docs" / "model-file.md"
    command = "model_signing sign key model.onnx --private_key key.pem --signature model.onnx.sig"
    assert command in document.read_text("utf-8")
    subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=tmp_path, check=True, capture_output=True
    )
    assert read_bundle(
        signed.model, SignatureCheck(tmp_path / "model.onnx.sig", tmp_path / "key.pub")
    ).manifest
