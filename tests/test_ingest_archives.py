"""Archives: streamed, counted, and never a way to write anywhere."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
import tarfile
import tempfile
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_support import PACKERS, pictures, special_member, tar_bytes, write, zip_bytes
from cli_support import cli
from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import ImportReport, import_source, resolve_sources
from keshikaran.ingest.archives import scan_archive
from keshikaran.ingest.packed import ArchiveLimits
from keshikaran.ingest.shards import expand_shards, is_archive_name
from keshikaran.pixels import Limits
from keshikaran.store import Store
from store_support import Steps, assert_whole, catalogue, snapshot
from support import bluish, encode, reddish


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


def _labels(store: Store) -> dict[str, int]:
    return {image.image_id: image.label for image in store.labels.images()}


def _import(
    store: Store, path: Path, *positives: str, limits: ArchiveLimits | None = None
) -> ImportReport:
    return import_source(store, scan_archive(path, positives, limits))


def _reasons(report: ImportReport) -> list[tuple[str, str]]:
    return [(refusal.path, refusal.reason) for refusal in report.refusals]


# What an import does


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
def test_class_folders_in_archives_are_as_those_on_disk(
    store: Store, tmp_path: Path, kind: str
) -> None:
    named = pictures(3)
    data = zip_bytes(named) if kind == "zip" else PACKERS[kind](tar_bytes(named))
    path = write(tmp_path / f"set.{kind}", data)
    report = _import(store, path, "red")
    assert report == ImportReport(seen=6, imported=6, labels=6)
    assert _labels(store) == {
        image_id_of(content): int(name.startswith("red")) for name, content in named.items()
    }
    assert_whole(store.folder)
    image_id = image_id_of(named["red/0001.png"])
    assert store.entries_of(image_id) == [f"{path}!/red/0001.png"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_importing_an_archive_again_adds_nothing(store: Store, tmp_path: Path, kind: str) -> None:
    named = pictures(3) | {"red/notes.txt": b"no picture"}
    data = zip_bytes(named) if kind == "zip" else gzip.compress(tar_bytes(named))
    path = write(tmp_path / f"set.{kind}", data)
    _import(store, path, "red")
    rows = catalogue(store.folder)
    report = _import(store, path, "red")
    assert (report.seen, report.duplicates, report.skipped, report.labels) == (7, 6, 1, 0)
    assert catalogue(store.folder) == rows


def test_an_interrupted_import_ends_with_the_same_catalogue(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.ingest.importer._BATCH", 3)
    path = write(tmp_path / "set.tar", tar_bytes(pictures(6)))
    with pytest.raises(KeyboardInterrupt):
        import_source(store, scan_archive(path, ["red"]), progress=Steps(7))
    assert 0 < store.count_images() < 12
    assert _import(store, path, "red").seen == 12
    with Store(tmp_path / "other") as other:
        _import(other, path, "red")
    assert catalogue(store.folder) == catalogue(tmp_path / "other")


def test_content_and_not_the_name_says_how_it_is_packed(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "set.tar", gzip.compress(tar_bytes(pictures(1))))
    other = write(tmp_path / "other.tar.gz", zip_bytes(pictures(1, red="a", blue="b")))
    assert _import(store, path).imported == 2
    assert _import(store, other).duplicates == 2


def test_an_image_that_moved_to_another_folder_takes_its_label_along(
    store: Store, tmp_path: Path
) -> None:
    data, other = encode(reddish(1)), encode(bluish(1))
    path = write(tmp_path / "set.tar", tar_bytes({"red/a.png": data, "blue/b.png": other}))
    _import(store, path, "red")
    write(path, tar_bytes({"blue/a.png": data, "red/b.png": other}))
    _import(store, path, "red")
    assert store.labels.contradictions() == []
    assert _labels(store) == {image_id_of(data): 0, image_id_of(other): 1}


def test_hidden_members_and_those_of_systems_are_passed_over(store: Store, tmp_path: Path) -> None:
    data = encode(reddish(1))
    names = ("__MACOSX/red/._a.png", "red/.DS_Store", ".git/a.png", "red/Thumbs.db", "./red/a.png")
    path = write(tmp_path / "set.zip", zip_bytes(dict.fromkeys(names, data)))
    archive = scan_archive(path, ["red"])
    assert (archive.count, archive.class_folders) == (1, ["red"])
    assert import_source(store, archive) == ImportReport(seen=1, imported=1, labels=1)


def test_members_of_one_name_stay_apart(store: Store, tmp_path: Path) -> None:
    first, second = encode(reddish(1)), encode(reddish(2))
    path = write(tmp_path / "set.tar", tar_bytes([("a.png", first), ("a.png", second)]))
    for _ in range(2):
        assert _import(store, path).seen == 2
    assert store.entries_of(image_id_of(first)) == [f"{path}!/a.png"]
    assert store.entries_of(image_id_of(second)) == [f"{path}!/a.png (entry 2)"]


def test_windows_folders_in_names_are_folders(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "set.tar", tar_bytes({"red\\a.png": encode(reddish(1))}))
    assert _import(store, path, "red").labels == 1


def test_archives_inside_archives_are_not_opened(store: Store, tmp_path: Path) -> None:
    inner = zip_bytes(pictures(1))
    path = write(tmp_path / "set.zip", zip_bytes({"inner.zip": inner}))
    assert _reasons(_import(store, path)) == [("inner.zip", "not_an_image")]


def test_empty_archives_are_no_error(store: Store, tmp_path: Path) -> None:
    for name, data in (("a.zip", zip_bytes({})), ("a.tar", tar_bytes({}))):
        assert _import(store, write(tmp_path / name, data)) == ImportReport()


# What is refused


def test_only_regular_members_of_a_tar_are_read(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encode(reddish(5)))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, target in (
            (tarfile.SYMTYPE, str(tmp_path / "secret.png")),
            (tarfile.LNKTYPE, "../secret.png"),
            (tarfile.CHRTYPE, ""),
            (tarfile.BLKTYPE, ""),
            (tarfile.FIFOTYPE, ""),
            (b"Z", ""),
        ):
            archive.addfile(special_member(f"red/{kind.decode()}.png", kind, target))
        archive.addfile(special_member("red", tarfile.DIRTYPE))
    report = _import(store, write(tmp_path / "set.tar", out.getvalue()))
    assert (report.seen, report.skipped) == (6, 6)
    details = " ".join(refusal.detail for refusal in report.refusals[:5])
    assert "symbolic link" in details
    assert "hard link" in details
    assert "device" in details
    assert "pipe" in details
    assert store.count_images() == 0


def test_sparse_members_are_refused(store: Store, tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    info.pax_headers |= {"GNU.sparse.name": "a.png", "GNU.sparse.realsize": str(1 << 40)}
    body = b"1\n0\n1\n".ljust(512, b"\0") + b"x".ljust(512, b"\0")
    info.size = len(body)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(body))
    (refusal,) = _import(store, write(tmp_path / "set.tar", out.getvalue())).refusals
    assert (refusal.reason, refusal.detail) == (
        "unreadable_file",
        "a sparse file; only plain ones are read",
    )


def test_zip_entries_that_are_encrypted_links_or_oddly_packed_are_refused(
    store: Store, tmp_path: Path
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("packed.png", encode(reddish(1)), zipfile.ZIP_BZIP2)
        archive.writestr("secret.png", encode(reddish(2)))
        archive.writestr("good.png", encode(reddish(3)))
    data = bytearray(out.getvalue())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        for _ in range(3):
            at = data.index(signature, at + 1)
        data[at + flags] |= 1
    report = _import(store, write(tmp_path / "set.zip", bytes(data)))
    assert report.imported == 1
    assert _reasons(report) == [
        ("link.png", "unreadable_file"),
        ("packed.png", "unreadable_file"),
        ("secret.png", "encrypted"),
    ]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_beyond_the_limit_are_not_read(store: Store, tmp_path: Path, kind: str) -> None:
    named = {"huge.png": bytes(1_000_000), "small.png": encode(reddish(1))}
    data = zip_bytes(named) if kind == "zip" else tar_bytes(named)
    path = write(tmp_path / f"set.{kind}", data)
    report = import_source(store, scan_archive(path), limits=Limits(max_bytes=100_000))
    assert _reasons(report) == [("huge.png", "too_many_bytes")]
    assert report.imported == 1


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_an_archive_that_blows_up_is_left(store: Store, tmp_path: Path, kind: str) -> None:
    named = {"first.png": encode(reddish(1))} | {f"{n}.bmp": bytes(20 << 20) for n in range(4)}
    data = zip_bytes(named) if kind == "zip" else PACKERS[kind](tar_bytes(named))
    report = _import(store, write(tmp_path / f"set.{kind}", data))
    assert report.imported == 1
    assert report.refusals[-1].reason == "archive_limit"
    assert "more than 200 times its size" in report.refusals[-1].detail
    assert report.refusals[-1].path == f"(set.{kind} itself)"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ArchiveLimits(max_entries=2, max_directory_entries=2), "more than 2"),
        (ArchiveLimits(max_total_bytes=30_000), "more than 30,000 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_are_left_at_their_limits(
    store: Store, tmp_path: Path, kind: str, limits: ArchiveLimits, words: str
) -> None:
    named = {f"{n}.png": encode(reddish(n)) for n in range(4)}
    data = zip_bytes(named) if kind == "zip" else tar_bytes(named)
    path = write(tmp_path / f"set.{kind}", data)
    report = _import(store, path, limits=limits)
    assert report.refusals[-1].reason == "archive_limit"
    assert words in report.refusals[-1].detail
    assert report.seen == report.imported + report.skipped
    assert _import(store, path).skipped == 0
    assert store.skipped() == []


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_truncated_tar_gives_what_is_whole_and_says_so(
    store: Store, tmp_path: Path, kind: str
) -> None:
    data = PACKERS[kind](tar_bytes(pictures(4)))
    path = write(tmp_path / f"set.{kind}", data[: len(data) // 2])
    report = _import(store, path, "red")
    assert report.refusals[-1].reason == "damaged_archive"
    assert report.refusals[-1].path == f"(set.{kind} itself)"
    write(path, data)
    report = _import(store, path, "red")
    assert report.imported + report.duplicates == 8
    assert store.skipped() == []


def test_a_tar_cut_between_members_or_with_a_broken_header_is_not_taken_for_whole(
    store: Store, tmp_path: Path
) -> None:
    whole = bytearray(tar_bytes(pictures(2)))
    second = whole.index(b"red/0001.png")
    cut = _import(store, write(tmp_path / "cut.tar", bytes(whole[:second])))
    assert "cut off" in cut.refusals[0].detail
    whole[second] ^= 1
    broken = _import(store, write(tmp_path / "broken.tar", bytes(whole)))
    assert "members after it are lost" in broken.refusals[0].detail
    assert (cut.imported, broken.duplicates) == (1, 1)


def test_what_lies_behind_the_end_is_not_passed_over_in_silence(
    store: Store, tmp_path: Path
) -> None:
    path = write(tmp_path / "set.tar", tar_bytes(pictures(1)) * 2)
    report = _import(store, path)
    assert report.imported == 2
    assert "behind its end" in report.refusals[0].detail


def test_a_damaged_zip_entry_costs_none_of_the_others(store: Store, tmp_path: Path) -> None:
    named = pictures(2)
    data = bytearray(zip_bytes(named, zipfile.ZIP_STORED))
    data[data.index(named["red/0001.png"]) + 100] ^= 1
    report = _import(store, write(tmp_path / "set.zip", bytes(data)))
    assert report.imported == 3
    assert _reasons(report) == [("red/0001.png", "corrupt")]


def test_a_zip_entry_that_is_shorter_than_it_says_is_refused(store: Store, tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.png": encode(reddish(1))}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10_000_000).to_bytes(4, "little")
    (refusal,) = _import(store, write(tmp_path / "set.zip", bytes(data))).refusals
    assert refusal.reason in ("truncated", "corrupt")


def test_what_is_no_archive_is_refused(store: Store, tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        (refusal,) = _import(store, write(tmp_path / name, b"no archive " * 100)).refusals
        assert refusal.reason == "damaged_archive"


def test_an_archive_that_is_missing_or_unreadable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"gone\.tar is no file"):
        scan_archive(tmp_path / "gone.tar")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.tar", b"")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SourceError, match="Permission denied"):
        scan_archive(path)


def test_absurd_headers_end_the_reading(store: Store, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 1 << 33
    long_name = info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)
    digits = tarfile.TarInfo("x")
    digits.type = tarfile.XHDTYPE
    digits.size = 5120
    quadratic = digits.tobuf(tarfile.USTAR_FORMAT) + b"1" * 5120
    negative = tarfile.TarInfo("a.png")
    negative.size = -(1 << 20)
    backwards = negative.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    nested = b"".join(special_member("x", tarfile.GNUTYPE_LONGNAME).tobuf() for _ in range(1500))
    for number, data in enumerate((long_name, quadratic, backwards, nested)):
        report = _import(store, write(tmp_path / f"{number}.tar", data))
        assert {refusal.reason for refusal in report.refusals} <= {
            "damaged_archive",
            "archive_limit",
        }
        assert report.skipped == 1


def test_xz_that_asks_for_much_memory_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tar.xz", PACKERS["tar.xz"](tar_bytes(pictures(1))))
    monkeypatch.setattr("keshikaran.ingest.forward._XZ_MEMORY", 1000)
    (refusal,) = _import(store, path).refusals
    assert refusal.reason == "damaged_archive"
    assert "Memory usage limit" in refusal.detail


def test_xz_in_several_streams_is_read_to_the_end(store: Store, tmp_path: Path) -> None:
    data, pack = tar_bytes(pictures(2)), PACKERS["tar.xz"]
    half = len(data) // 2
    several = pack(data[:half]) + pack(data[half:]) + bytes(4)
    assert _import(store, write(tmp_path / "a.tar.xz", several)).imported == 4


def test_zstandard_needs_a_python_that_has_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path / "a.tar.zst", b"\x28\xb5\x2f\xfd" + gzip.compress(tar_bytes(pictures(1)))
    )
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(SourceError, match="Zstandard"):
        scan_archive(path)
    module = types.ModuleType("compression.zstd")

    def opened(raw: io.BufferedReader) -> gzip.GzipFile:
        raw.seek(4)
        return gzip.GzipFile(fileobj=raw)

    monkeypatch.setattr(module, "ZstdFile", opened, raising=False)
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    assert _import(store, path).imported == 2


# WebDataset


def _samples(count: int, kind: str = "cls") -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for number in range(count):
        said = {"label": number % 3, "caption": "x"}
        members[f"{number:04d}.{kind}"] = (
            str(number % 3).encode() if kind == "cls" else json.dumps(said).encode()
        )
        members[f"{number:04d}.jpg"] = encode(reddish(number), "JPEG")
        members[f"{number:04d}.txt"] = b"a caption"
    return members


@pytest.mark.parametrize("kind", ["cls", "json"])
@pytest.mark.parametrize("label_last", [False, True])
def test_samples_carry_their_class(
    store: Store, tmp_path: Path, kind: str, label_last: bool
) -> None:
    members = sorted(_samples(6, kind).items(), key=lambda item: item[0], reverse=label_last)
    archive = scan_archive(write(tmp_path / "a.tar", tar_bytes(members)), ["2"])
    assert archive.class_folders == ["0", "1", "2"]
    report = import_source(store, archive)
    assert report == ImportReport(seen=6, imported=6, labels=6)
    assert _labels(store) == {
        image_id_of(encode(reddish(n), "JPEG")): int(n % 3 == 2) for n in range(6)
    }


def test_samples_labelled_0_and_1_need_no_positive(store: Store, tmp_path: Path) -> None:
    members = {"a.cls": b"1\n", "a.png": encode(reddish(1))}
    members |= {"b.json": b'{"label": false}', "b.png": encode(reddish(2))}
    members |= {"c.json": b'{"caption": "?"}', "c.png": encode(reddish(3))}
    members |= {"d.json": b"no json", "d.png": encode(reddish(4)), "e.json": b"[1]"}
    report = _import(store, write(tmp_path / "a.tar", tar_bytes(members)))
    assert (report.imported, report.labels) == (4, 2)
    assert _reasons(report) == [("e.json", "not_an_image")]
    assert _labels(store) == {
        image_id_of(encode(reddish(1))): 1,
        image_id_of(encode(reddish(2))): 0,
    }


def test_a_sample_with_too_much_in_it_is_not_held(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.ingest.webdataset._SAMPLE_BYTES", 10_000)
    members = {f"a.{n}.png": encode(reddish(n)) for n in range(4)} | {"a.cls": b"1"}
    report = _import(store, write(tmp_path / "a.tar", tar_bytes(members)))
    assert report.imported + report.skipped == 4
    assert {refusal.reason for refusal in report.refusals} == {"archive_limit"}


def test_ranges_name_shards(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"shard-{number:03d}.tar", tar_bytes(pictures(1)))
    sources = resolve_sources([tmp_path / "shard-{000..002}.tar"], positives=["red"])
    assert [source.root for source in sources] == [
        f"{tmp_path}/shard-00{number}.tar!" for number in range(3)
    ]
    with pytest.raises(SourceError, match=r"shard-003\.tar is no file"):
        resolve_sources([tmp_path / "shard-{000..003}.tar"])


def test_ranges_are_expanded_and_kept_in_bounds() -> None:
    assert expand_shards("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_shards("{0..1}/{a}-{2..3}") == ["0/{a}-2", "0/{a}-3", "1/{a}-2", "1/{a}-3"]
    assert expand_shards("plain.tar") == ["plain.tar"]
    for text in ("{0..999999999}.tar", "{0..999}{0..999}.tar", "{3..1}.tar"):
        with pytest.raises(UsageError, match="stands for"):
            expand_shards(text)


def test_names_of_archives() -> None:
    assert all(
        map(is_archive_name, ("a.tar", "a.b.TAR.GZ", "a.tgz", "a.zip", "a.tar.zst", "a.txz"))
    )
    assert not any(map(is_archive_name, ("a.jpg", "tar", "a.tar.jpg", "zip", "a.gz")))


# The command


def test_command_takes_archives_and_checks_positive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "set.tar.gz", gzip.compress(tar_bytes(pictures(2))))
    words = ("import", path, "--workspace", tmp_path / "w", "--json", "--positive")
    wrong = cli(capsys, *words, "rde")
    assert wrong.code == 2
    assert "Folders there: blue, red" in wrong.err
    done = cli(capsys, *words, "red")
    assert done.code == 0
    assert json.loads(done.out)["labels"] == 4
    write(path, path.read_bytes()[:-20])
    damaged = cli(capsys, *words, "red")
    assert damaged.code == 3
    assert json.loads(damaged.out)["refusals"][0]["reason"] == "damaged_archive"


# Any archive at all

_HOSTILE = [
    "../../evil.png",
    "/etc/passwd",
    "C:\\evil.png",
    "a/../../b.png",
    "..",
    "./",
    "/",
    "~/x",
    "a" * 3000,
]
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: not name.startswith("\0")  # zipfile cannot write a name that ends there
)
_CONTENTS = st.lists(st.integers(0, 3), min_size=8, max_size=8)
_IMAGE = encode(reddish(1))
_BODIES = [_IMAGE, b"", b"words", _IMAGE[:100]]


@given(
    names=st.lists(_NAMES | st.sampled_from(_HOSTILE), max_size=8),
    contents=_CONTENTS,
    kind=st.sampled_from(["tar", "zip"]),
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 7)), max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_is_written_elsewhere_and_everything_is_counted(
    names: list[str], contents: list[int], kind: str, flips: list[tuple[int, int]]
) -> None:
    members = {name: _BODIES[n] for name, n in zip(names, contents, strict=False)}
    data = bytearray(zip_bytes(members) if kind == "zip" else tar_bytes(members))
    for position, bit in flips:
        data[position % len(data)] ^= 1 << bit
    place = Path(tempfile.mkdtemp())
    try:
        path = write(place / f"set.{kind}", bytes(data))
        before = snapshot(place, without=place / "w")
        with Store(place / "w") as store:
            first, second = _import(store, path), _import(store, path)
        after = snapshot(place, without=place / "w")
        assert {k: v[2] for k, v in after.items()} == {k: v[2] for k, v in before.items()}
        assert_whole(place / "w")
        for report in (first, second):
            assert report.seen == report.imported + report.duplicates + report.skipped
        assert second.imported == 0
        assert second.seen == first.seen
    finally:
        shutil.rmtree(place)
