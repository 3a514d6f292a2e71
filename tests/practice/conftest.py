"""Practice markets: in virtual time on machines that do nothing, and over HTTP with real processes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from uprez.practice import Clock, Idle, Market, Options, PracticeServer, Processes


@dataclass(frozen=True, kw_only=True)
class Http:
    """A client without any mercy or memory."""

    server: PracticeServer

    def __call__(
        self, method: str, path: str, body: object = None, *, key: str | None = None, host: str | None = None
    ) -> tuple[int, object, Mapping[str, str]]:
        """Send one request; give status, body (JSON where it is) and headers in lower case."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.server.market.key if key is None else key}"}
        headers |= {"Host": host} if host else {}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(data) if found["content-type"] == "application/json" else data.decode(), found

    def control(self, path: str, body: object = None) -> object:
        """Ask the control endpoint."""
        method = "GET" if body is None else "POST"
        status, answer, _ = self(method, f"/practice/{path}", body, key=self.server.control_key)
        assert status == 200, answer
        return answer


@pytest.fixture
def idle() -> Idle:
    """Give machines on which nothing runs."""
    return Idle()


@pytest.fixture
def market(idle: Idle) -> Market:
    """Give a market in virtual time: boots take 20 s."""
    return Market(Clock(), idle, Options(boot_s=(20.0, 20.0)))


@pytest.fixture
def http_idle(market: Market) -> Iterator[Http]:
    """Give a market in virtual time over HTTP."""
    server = PracticeServer(market)
    yield Http(server=server)
    server.close()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[PracticeServer]:
    """Give a market that runs real processes, its time twenty times as fast, without limits on calls."""
    options = Options(boot_s=(3.0, 3.0), limits=False)
    server = PracticeServer(Market(Clock(20.0), Processes(tmp_path / "market"), options))
    yield server
    server.close()
