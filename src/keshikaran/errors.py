"""Every error this package raises on purpose.

::

    KeshikaranError              base class: catch this one
    ├── UsageError               the call makes no sense as written (exit code 2)
    ├── PolicyError              a policy file is unreadable, has a typo or contradicts itself
    ├── SourceError              a folder, label file or list of sources cannot be read
    ├── NotEnoughImagesError     too few labelled images, or one class only
    ├── ImageRefusedError        one image cannot be turned into pixels; carries a reason code
    ├── StoreError               the workspace cannot be read or written
    │   └── DamagedStoreError    one of its files is not what was written
    ├── BackboneError            a network file is missing, unfit or unsafe
    ├── BundleError              a model file is missing, damaged or not ours
    ├── PromotionError           a model is not put into use, and why
    ├── MemoryFileError          a file of known images is missing, damaged or for another model
    ├── IsolationError           no process can be started to decode images in
    ├── ClusterError             work cannot be given to other machines, or failed there
    ├── MissingExtraError        an optional part is not installed
    ├── ClientError              a server was asked and gave no verdict; carries a stable code
    │   ├── UnreachableError     no answer, or one that is not this server's
    │   ├── BusyError            it has no room now, and still had none after some tries
    │   └── RequestFailedError   it refuses this request, and would again
    └── RequestRefusedError      an HTTP request is answered with a problem (`web.problems`)

Each carries what happened, on which file, and what to do about it. The command line prints
these and hides the traceback; anything else that escapes is a defect.
"""

from __future__ import annotations

from typing import Literal

RefusalReason = Literal[
    "empty_file",
    "not_an_image",
    "unsupported_format",
    "unsupported_pixels",
    "too_many_bytes",
    "too_many_pixels",
    "too_many_frames",
    "too_much_metadata",
    "side_too_long",
    "truncated",
    "corrupt",
    "unreadable_file",
    "damaged_object",
    "decoder_died",
    "decode_timeout",
]
"""Why an image was refused. A closed list: it is written to files and read by machines.

- `empty_file`: no bytes; `unreadable_file`: the system did not give them.
- `not_an_image`: no image format starts like this.
- `unsupported_format`: an image kind that is known and not accepted.
- `unsupported_pixels`: an accepted kind with pixels that have no defined range or reading.
- `too_many_bytes`, `too_many_pixels`, `too_many_frames`, `too_much_metadata`, `side_too_long`:
  beyond `keshikaran.pixels.Limits`. `too_many_pixels` counts one frame, and all frames or
  scans that would have to be decoded.
- `truncated`: the data ends before the picture does; `corrupt`: any other damage, in any frame.
"""

PASSING_REASONS: frozenset[RefusalReason] = frozenset(
    {"unreadable_file", "damaged_object", "decoder_died", "decode_timeout"}
)
"""Reasons that may be gone at the next try: nothing remembers them as a fact about the image."""


class KeshikaranError(Exception):
    """Something went wrong that a person can understand and act on.

    Args:
        what: what happened, naming the file or value concerned.
        hint: what to do about it, as an imperative sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        """The message followed by the hint."""
        return f"{self.what} {self.hint}".strip()


class UsageError(KeshikaranError):
    """The call makes no sense as written."""

    exit_code = 2


class PolicyError(KeshikaranError):
    """A policy file cannot be read, has a typo, or asks for what contradicts itself."""


class SourceError(KeshikaranError):
    """A folder, label file or list of sources cannot be read."""


class NotEnoughImagesError(KeshikaranError):
    """Too few labelled images to train or judge a classifier, or one class only."""


class ImageRefusedError(KeshikaranError):
    """One image cannot be turned into pixels.

    Args:
        reason: the code from `RefusalReason`.
        detail: what exactly was found, in words.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: RefusalReason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageRefusedError], tuple[RefusalReason, str]]:
        """Survive the trip between processes (the default would lose an argument)."""
        return (type(self), (self.reason, self.detail))


class StoreError(KeshikaranError):
    """The workspace cannot be read or written."""


class DamagedStoreError(StoreError):
    """A file of the workspace is not what was written."""


class BackboneError(KeshikaranError):
    """A network file is missing, unfit or unsafe."""


class BundleError(KeshikaranError):
    """A model file is missing, damaged or not one of ours."""


class PromotionError(KeshikaranError):
    """A model is not put into use: it is worse, or nobody can tell."""


class MemoryFileError(KeshikaranError):
    """A file of known images is missing, damaged or made for another model."""


class IsolationError(KeshikaranError):
    """No process can be started to decode images in."""


class ClusterError(KeshikaranError):
    """Work cannot be given to other machines, or failed there."""


class MissingExtraError(KeshikaranError):
    """An optional part of the package is needed and not installed.

    Args:
        what: the activity that needs it.
        extra: the name of the extra, as in ``pip install "keshikaran[extra]"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed.",
            f'Run: pip install "keshikaran[{extra}]"',
        )
        self.extra = extra


class ClientError(KeshikaranError):
    """A server was asked about an image and gave no verdict: the image has not passed.

    Args:
        code: what happened, for machines: a code of docs/serving.md where the server said one,
            `http_STATUS` where something before it answered, else one of `unreachable`,
            `timed_out`, `untrusted`, `bad_answer`.
        what: see `KeshikaranError`.
        hint: see `KeshikaranError`.
        status: the HTTP status; None if there was no answer.
        request_id: under which the server's log has it.
        retry_after_s: when the server wants to be asked again; None if it did not say.
    """

    is_passing = False

    def __init__(
        self,
        code: str,
        what: str,
        hint: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, hint)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class UnreachableError(ClientError):
    """No answer came, or one that is not this server's."""

    @property
    def is_passing(self) -> bool:  # type: ignore[override]
        """Whether the same request may succeed later."""
        return self.code in ("unreachable", "timed_out")


class BusyError(ClientError):
    """The server, or what stands before it, has no room now."""

    is_passing = True


class RequestFailedError(ClientError):
    """The server refuses this request and would refuse it again."""
