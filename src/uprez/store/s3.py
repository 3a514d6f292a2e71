"""The connection to an S3-compatible store: botocore's client set up for any of them, and its failures in our words."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from typing import Any

from uprez.config.settings import Access
from uprez.errors import BusyError, DeniedError, StoreError
from uprez.store import sign

AGREED_S = 2.0
"""Clocks that differ less are taken as equal: a Date header has whole seconds, and an answer has been on its way."""

_PASSING = frozenset({429, 500, 502, 503, 504})
_DENIED = frozenset({401, 403})
_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"})

_HINTS = {
    "AccessDenied": "check that the key may list, read, write and delete in this bucket and prefix",
    "AuthorizationHeaderMalformed": "check the region: it must be the endpoint's",
    "ExpiredToken": "the temporary credentials have ended: get new ones",
    "InvalidAccessKeyId": "check B2_KEY (or AWS_ACCESS_KEY_ID); B2 takes an application key, not the master key",
    "NoSuchBucket": "check B2_BUCKET and the endpoint: a bucket exists in one region only",
    "NoSuchUpload": "it was completed or aborted by somebody else",
    "PreconditionFailed": "the object has changed since it was pinned",
    "SignatureDoesNotMatch": "check B2_SECRET (or AWS_SECRET_ACCESS_KEY): it does not belong to this key",
    "SlowDown": "the store is busy: try again later",
}
"""The next step, by the server's code."""


@cache
def connect(access: Access, *, connect_s: float, read_s: float) -> Connection:
    """Give the connection of an account: stores in several buckets and prefixes share it, and what it learns."""
    return Connection(access, connect_s=connect_s, read_s=read_s)


class Connection:
    """botocore's client, made when it is first needed, and what its answers say about the store's clock."""

    def __init__(self, access: Access, *, connect_s: float, read_s: float) -> None:
        self._access = access
        self._connect_s, self._read_s = connect_s, read_s
        self._lock = threading.Lock()
        self.skew_s = 0.0

    @cached_property
    def client(self) -> Any:  # noqa: ANN401 # botocore ships no types
        """The client; it sends a request once: how often it is tried is for the store to say."""
        import botocore.config
        import botocore.session

        nothing: dict[str, tuple[None, None, str | None, None]] = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        with self._lock:  # a session is not safe to make clients from in several threads
            session = botocore.session.Session(session_vars=nothing)  # nothing is read from ~/.aws
            session.register_component("data_loader", _loader())
            client = session.create_client(
                "s3",
                region_name=self._access.region,
                endpoint_url=sign.endpoint(self._access),
                aws_access_key_id=self._access.key.reveal(),
                aws_secret_access_key=self._access.secret.reveal(),
                aws_session_token=self._access.token.reveal() if self._access.token else None,
                config=botocore.config.Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    retries={"mode": "standard", "total_max_attempts": 1},
                    connect_timeout=self._connect_s,
                    read_timeout=self._read_s,
                    max_pool_connections=32,
                ),
            )
        client.meta.events.register("before-call.s3.DeleteObjects", _by_md5)
        client.meta.events.register("response-received.s3", self._learn)
        client.meta.events.register("choose-signer.s3", _unsigned)  # signed below, by the store's clock
        client.meta.events.register("before-sign.s3", self._sign)
        return client

    def _sign(self, request: Any, **_: object) -> None:  # noqa: ANN401
        sign.sign(self._access, request, skew_s=self.skew_s)

    def _learn(self, response_dict: Mapping[str, Any] | None = None, **_: object) -> None:
        """Take the store's clock from an answer."""
        with contextlib.suppress(TypeError, ValueError):  # no Date, or none that can be read
            date = (response_dict or {}).get("headers", {}).get("date")
            skew_s = parsedate_to_datetime(date).timestamp() - time.time()
            self.skew_s = skew_s if abs(skew_s) >= AGREED_S else 0.0


def _unsigned(**_: object) -> Any:  # noqa: ANN401
    """Give botocore's word for a request that it is not to sign."""
    from botocore import UNSIGNED

    return UNSIGNED


@cache
def _loader() -> Any:  # noqa: ANN401
    """Give what reads botocore's own descriptions of services (once), and none from ~/.aws."""
    from botocore.loaders import Loader

    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


def errors() -> Any:  # noqa: ANN401
    """botocore's exceptions, imported when they are first looked at."""
    import botocore.exceptions

    return botocore.exceptions


def failures() -> tuple[type[Exception], ...]:
    """Every way in which a request fails."""
    return (errors().ClientError, errors().BotoCoreError, _cut_short())


def _cut_short() -> type[Exception]:
    """Give what an answer that breaks off raises: it comes from under botocore, which does not wrap it."""
    from urllib3.exceptions import HTTPError  # with botocore, when that is first needed

    return HTTPError


def status(error: Exception) -> int | None:
    """Give the HTTP status that an answer failed with; None when there was no answer."""
    found = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(found) if found is not None else None


def code(error: Exception) -> str:
    """Give the server's code for a failure."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def words(error: Exception) -> str:
    """Give the server's message for a failure."""
    return str(_answer(error).get("Error", {}).get("Message", ""))


def _answer(error: Exception) -> Mapping[str, Any]:
    """Give what a ClientError holds of the answer; other failures have none, or one that is None."""
    return getattr(error, "response", None) or {}


def ignorant(error: Exception) -> bool:
    """Say whether a write failed because the store does not know If-None-Match (B2 does not)."""
    return status(error) == 501 or (status(error) == 400 and "header" in words(error).lower())


def absent(error: Exception) -> bool:
    """Say whether a failure means that there is no such object or upload (a missing bucket is another matter)."""
    return code(error) in _ABSENT


def passing(error: Exception) -> bool:
    """Say whether the same request may work a little later; then an answer that is missing may have been given."""
    known = errors()
    if isinstance(error, known.SSLError):
        return False
    broken = isinstance(error, (known.HTTPClientError, known.IncompleteReadError, known.ConnectionError, _cut_short()))
    return broken or status(error) in _PASSING


@contextlib.contextmanager
def named(what: str, skew_s: Callable[[], float], endpoint: str) -> Iterator[None]:
    """Turn botocore's failures into StoreError: what was to be done, why not, and the next step."""
    try:
        yield
    except errors().ClientError as error:
        raise refused(what, error.response.get("Error", {}), skew_s(), status(error)) from error
    except (errors().BotoCoreError, _cut_short()) as error:
        raise _unreached(f"cannot {what}", error, endpoint) from error


def refused(what: str, error: Mapping[str, Any], skew_s: float, status: int | None = None) -> StoreError:
    """Make the error for a request that the server answered with a failure."""
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    hint = _HINTS.get(code)
    if code == "RequestTimeTooSkewed":
        direction = "behind" if skew_s > 0 else "ahead of"
        hint = f"this machine's clock is {abs(skew_s) / 60:.0f} minutes {direction} the store's: set it"
    elif status in _PASSING:
        hint = hint or "the store has failed several times: try again later"
    words = message if code == str(status) else ": ".join(filter(None, (code, message)))
    text = f"cannot {what}: {status or ''} {words}".replace("  ", " ")
    if status in _DENIED or code in ("AccessDenied", "SignatureDoesNotMatch"):
        return DeniedError(text, hint=hint, status=status)
    return BusyError(text, hint=hint, status=status) if status in _PASSING else StoreError(text, hint=hint)


def _unreached(what: str, error: Exception, endpoint: str) -> StoreError:
    known = errors()
    if isinstance(error, known.SSLError):
        return StoreError(f"{what}: no secure connection to {endpoint}: {_cause(error)}", hint="check the endpoint")
    if isinstance(error, known.ProxyConnectionError):
        return BusyError(f"{what}: the proxy cannot be reached", hint="check HTTPS_PROXY and NO_PROXY")
    if isinstance(error, (known.ConnectTimeoutError, known.EndpointConnectionError)):
        return BusyError(f"{what}: cannot connect to {endpoint}: {_cause(error)}", hint="check B2_ENDPOINT")
    if isinstance(error, known.ReadTimeoutError):
        return BusyError(
            f"{what}: {endpoint} does not answer", hint="check B2_ENDPOINT; or the store is busy: try again later"
        )
    if isinstance(error, (known.HTTPClientError, known.IncompleteReadError, _cut_short())):
        return BusyError(f"{what}: the connection to {endpoint} broke", hint="try again")
    return StoreError(f"{what}: {str(error).partition('?')[0]}")


def _cause(error: Exception) -> str:
    """Give the system's word for a failure to connect: botocore wraps it in urllib3's, and that in its own."""
    seen: object = error
    while isinstance(seen, Exception):
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = getattr(seen, "kwargs", {}).get("error")
        seen = inner if isinstance(inner, Exception) and inner is not seen else seen.__cause__ or seen.__context__
    return "no connection"


def _by_md5(params: dict[str, Any], **_: object) -> None:
    """Let a request whose integrity must be proved say so by Content-MD5: B2 refuses the newer headers."""
    params["context"]["checksum"] = {}
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
