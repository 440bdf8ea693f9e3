"""What the server is told: where it listens and what a client may cost."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from pathlib import Path

from keshikaran.drift import DEFAULT_WINDOW, LEAST_WINDOW, MOST_WINDOW
from keshikaran.errors import UsageError
from keshikaran.web.budget import for_large

_MIB = 1024 * 1024
_MAX_PORT = 65_535
_MAY_BE_ZERO = {"port", "drain_s", "cache_size", "drift_window"}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All limits of the server. Sizes are in bytes, times in seconds.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        token_file: tokens of those who may ask, one a line; None lets everyone who reaches us.
        admin_token_file: tokens of those who may change the model; None lets nobody.
        allowed_hosts: names that requests may ask for (`Host`), besides this machine's own; none:
            only those, or any if a token is asked for.
        max_body_bytes: one image file.
        max_request_bytes: one request with several.
        max_parts: image files in one request.
        body_memory_bytes: bodies in memory, all requests together.
        memory_wait_s: how long a body may wait for room among them.
        max_waiting: images that wait for a thread or are at work, all requests together.
        drift_window: images that are compared with the labelled ones at a time; 0 compares none.
        cache_size: answers that are remembered by the digest of the file; 0 remembers none.
        header_timeout_s: until a request's head is complete, from its first byte, or from the
            start of the connection.
        max_header_bytes: a request's head.
        idle_timeout_s: between two requests of a connection.
        body_timeout_s: until a body is complete.
        min_body_rate: bytes a second of a body, averaged over `rate_window_s`.
        rate_window_s: see there.
        send_timeout_s: until a client has taken an answer.
        linger_s: how long a client that is refused may go on sending before it is cut off.
        max_connections: open connections.
        connections_per_client: those of one address (IPv6: of one /64); the machine itself
            and `proxies` are not counted.
        proxies: addresses that speak for many clients.
        drain_s: after the signal to end, how long new requests are still taken while
            `/readyz` already says no.
        shutdown_timeout_s: after that, how long requests may take to finish.

    Raises:
        UsageError: a limit is no positive number, they contradict each other, or everyone could
            reach a server that asks for no token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    admin_token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 20 * _MIB
    max_request_bytes: int = 21 * _MIB
    max_parts: int = 16
    body_memory_bytes: int = 22 * _MIB
    memory_wait_s: float = 5.0
    max_waiting: int = 32
    cache_size: int = 0
    drift_window: int = DEFAULT_WINDOW
    header_timeout_s: float = 8.0
    max_header_bytes: int = 32 * 1024
    idle_timeout_s: float = 25.0
    body_timeout_s: float = 60.0
    min_body_rate: int = 2048
    rate_window_s: float = 5.0
    send_timeout_s: float = 20.0
    linger_s: float = 1.0
    max_connections: int = 1000
    connections_per_client: int = 100
    proxies: tuple[str, ...] = ()
    drain_s: float = 1.0
    shutdown_timeout_s: float = 18.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (
                value > 0 or (value == 0 and field.name in _MAY_BE_ZERO)
            ):
                msg = f"{field.name} must be more than 0, not {value}."
                raise UsageError(msg, "Give a positive number.")
        if self.port > _MAX_PORT:
            msg = f"port must be at most {_MAX_PORT}, not {self.port}."
            raise UsageError(msg, "0 takes a free one.")
        if self.drift_window and not LEAST_WINDOW <= self.drift_window <= MOST_WINDOW:
            msg = f"drift_window must be 0 or {LEAST_WINDOW} to {MOST_WINDOW:,}."
            raise UsageError(msg, "Fewer images say little; 0 turns the drift watch off.")
        self._check_order()
        if not is_loopback(self.host) and self.token_file is None:
            msg = f"Everyone who reaches {self.host} could use this server: it asks for no token."
            raise UsageError(msg, "Name a file of tokens with --token-file, or stay on 127.0.0.1.")

    def _check_order(self) -> None:
        for small, large in (
            ("max_body_bytes", "max_request_bytes"),
            ("max_parts", "max_waiting"),
        ):
            if getattr(self, small) > getattr(self, large):
                msg = f"{small} is {getattr(self, small):,}, more than {large} allows."
                raise UsageError(msg, f"Raise {large}, or lower {small}.")
        if self.max_request_bytes > (most := for_large(self.body_memory_bytes)):
            msg = f"Of body_memory_bytes, {most:,} are for large bodies: less than a request's."
            raise UsageError(msg, "Raise body_memory_bytes, or lower max_request_bytes.")

    @property
    def unannounced_memory_bytes(self) -> int:
        """Bodies in memory whose length nobody declared: a third of all.

        A declared length can be refused before the first byte; without one, only what is here
        already tells that it was too much.
        """
        return self.body_memory_bytes // 3


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine alone."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
