"""Several image files in one body (`multipart/form-data`), within limits, none on disk."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings

_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 2048
_MAX_BOUNDARY = 70  # RFC 2046
_MAX_NAME = 255
NO_NAME = "-"


@dataclass(frozen=True, slots=True)
class Upload:
    """One image file that somebody sent.

    Attributes:
        name: what the client calls it; "-" if nothing.
        data: its bytes.
    """

    name: str
    data: bytes


@dataclass(slots=True)
class _Part:
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    encoding: bytes = b""
    name: str = NO_NAME
    data: io.BytesIO = field(default_factory=io.BytesIO)


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        RequestRefusedError: `bad_multipart`.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise _bad("the boundary is missing or longer than 70 bytes")
    return boundary


def name_from(disposition: str) -> str:
    """The file name in a Content-Disposition header; "-" if it has none."""
    _, options = parse_options_header(disposition)
    return _clean(options.get(b"filename", b""))


async def read_uploads(
    chunks: AsyncIterator[bytes], boundary: bytes, settings: ServerSettings
) -> list[Upload]:
    """The image files of a body, in order.

    Raises:
        RequestRefusedError: `bad_multipart`, `too_large`, and what `chunks` raises.
    """
    reader = _Reader(settings)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": reader.part_begin,
            "on_header_field": reader.header_field,
            "on_header_value": reader.header_value,
            "on_header_end": reader.header_end,
            "on_headers_finished": reader.headers_finished,
            "on_part_data": reader.part_data,
            "on_part_end": reader.part_end,
            "on_end": reader.end,
        },
        max_header_count=_MAX_HEADERS,
        max_header_size=_MAX_HEADER_BYTES,
    )
    try:
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        reader.forget()
        why = f"it cannot be read: {error}"
        raise _bad(why) from error
    except BaseException:
        reader.forget()
        raise
    if not reader.complete:
        raise _bad("it ends before its closing boundary")
    if not reader.uploads:
        raise _bad("it has no image file")
    return reader.uploads


class _Reader:
    """What the parser calls; collects one part after the other."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._part = _Part()
        self.uploads: list[Upload] = []
        self.complete = False

    def part_begin(self) -> None:
        if len(self.uploads) >= self._settings.max_parts:
            what = f"It has more than {self._settings.max_parts} image files."
            raise RequestRefusedError("too_large", what, "Send several requests.", close=True)
        self._part = _Part()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def header_end(self) -> None:
        part = self._part
        name, value = bytes(part.header).lower(), bytes(part.value)
        part.header.clear()
        part.value.clear()
        if name == b"content-disposition":
            part.disposition = value
        elif name == b"content-transfer-encoding":
            part.encoding = value.strip().lower()

    def headers_finished(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.disposition.decode("latin-1"))
        if kind != b"form-data" or b"filename" not in options:
            raise _bad("each part must be a file: form-data with a filename")
        if part.encoding not in (b"", b"binary", b"8bit", b"7bit"):
            raise _bad("a part has a Content-Transfer-Encoding; files are taken as they are")
        part.name = _clean(options[b"filename"])

    def part_data(self, data: bytes, start: int, end: int) -> None:
        limit = self._settings.max_body_bytes
        if self._part.data.tell() + end - start > limit:
            what = f"An image file in it has more than {limit:,} bytes."
            raise RequestRefusedError("too_large", what, "Send a smaller file.", close=True)
        self._part.data.write(memoryview(data)[start:end])

    def part_end(self) -> None:
        self.uploads.append(Upload(self._part.name, self._part.data.getvalue()))
        self._part = _Part()

    def end(self) -> None:
        self.complete = True

    def forget(self) -> None:
        """Keep nothing: whoever looks at a refusal holds on to all that led to it."""
        self._part.data.close()
        self.uploads.clear()


def _clean(name: bytes) -> str:
    """A file name as text that can do nothing to whoever shows it; never used as a path."""
    text = name.decode("utf-8", "replace")[:_MAX_NAME]
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown[:_MAX_NAME] or NO_NAME


def _bad(why: str) -> RequestRefusedError:
    hint = "Send multipart/form-data with one part, with a filename, for each image file."
    return RequestRefusedError("bad_multipart", f"The body is refused: {why}.", hint, close=True)
