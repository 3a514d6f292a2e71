"""Sign the URLs that a sheet carries: each gives the right to one request for one object, for a while, and no more.

By botocore's SigV4 query signature, path style, so that it works for any S3 request on any S3-compatible store.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from uprez.config.settings import Access

LONGEST_S = 7 * 24 * 3600
"""Seconds that any S3 store lets a signature live."""


def endpoint(access: Access) -> str:
    """Give the base URL of a store."""
    return (access.endpoint or f"https://s3.{access.region}.amazonaws.com").rstrip("/")


def presign(
    access: Access,
    method: str,
    bucket: str,
    key: str,
    *,
    seconds: float,
    query: Mapping[str, str | int] | None = None,
    skew_s: float = 0.0,
) -> str:
    """Give a URL that lets anybody send one kind of request for an object.

    `query` says which request it is (`partNumber`, `uploadId`, `versionId`). `skew_s` is the store's clock minus ours:
    the signature is dated by the store's. Raises ValueError over 7 days, which a store would refuse at its use only.
    """
    from botocore.awsrequest import AWSRequest

    if not 1 <= seconds <= LONGEST_S:
        raise ValueError(f"a URL can be signed for 1 second to 7 days, not for {seconds:g} seconds")
    address = f"{endpoint(access)}/{quote(bucket)}/{quote(key, safe='/~')}"
    if query:
        address += f"?{urlencode({name: str(value) for name, value in query.items()}, quote_via=quote)}"
    request = AWSRequest(method=method, url=address)
    _signers()[0](_credentials(access), access.region, skew_s, int(seconds)).add_auth(request)
    return str(request.url)


def sign(access: Access, request: Any, *, skew_s: float) -> None:  # noqa: ANN401 # botocore ships no types
    """Sign a request of botocore's in its headers, dated by the store's clock."""
    _signers()[1](_credentials(access), access.region, skew_s).add_auth(request)


def _credentials(access: Access) -> Any:  # noqa: ANN401
    from botocore.credentials import Credentials

    token = access.token.reveal() if access.token else None
    return Credentials(access.key.reveal(), access.secret.reveal(), token)


@cache
def _signers() -> tuple[Any, Any]:
    """Make the classes late, for a URL and for headers: botocore takes 0.2 s to import, and a folder needs none."""
    from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, S3SigV4QueryAuth

    class Dated:
        """Signs by the store's clock."""

        def __init__(self, credentials: object, region: str, skew_s: float, *more: object) -> None:
            super().__init__(credentials, "s3", region, *more)  # type: ignore[call-arg] # of what it is mixed into
            self._skew_s = skew_s

        def _modify_request_before_signing(self, request: Any) -> None:  # noqa: ANN401
            ours = datetime.strptime(request.context["timestamp"], SIGV4_TIMESTAMP)  # noqa: DTZ007 # it is UTC
            request.context["timestamp"] = (ours + timedelta(seconds=self._skew_s)).strftime(SIGV4_TIMESTAMP)
            super()._modify_request_before_signing(request)  # type: ignore[misc]

    query = type("DatedQuery", (Dated, S3SigV4QueryAuth), {})
    return query, type("DatedHeaders", (Dated, S3SigV4Auth), {})
