"""The HTTP side: paths, shapes, keys, limits, and what goes wrong on the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from uprez.practice import Market, PracticeServer
from uprez.practice.access import ENDPOINTS
from uprez.practice.call import Call
from waiting import until

Http = Any  # conftest's client
LAUNCH = {"image": "python:3.11-bookworm", "disk": 20, "label": "a", "onstart": "/bin/bash", "args": ["-c", "true"]}


def rent(client: Any, **more: object) -> tuple[int, str]:
    """Rent something over HTTP, and give the instance and its key; limits do not count it."""
    ask = client.server.market.search({"duration": {"gte": 9e5}, "limit": 1})[0]["id"]
    answer = client.server.market.create(ask, {**LAUNCH, **more})
    return answer["new_contract"], answer["instance_api_key"]


def test_a_key_is_needed(http_idle: Http) -> None:
    """Searching needs none; everything else answers 401 auth_error to a wrong one."""
    assert http_idle("POST", "/api/v0/bundles/", {"limit": 1}, key="")[0] == 200
    for method, path in (
        ("GET", "/api/v1/instances/"),
        ("GET", "/api/v0/users/current"),
        ("PUT", "/api/v0/asks/1/"),
        ("DELETE", "/api/v0/instances/1/"),
    ):
        status, body, _ = http_idle(method, path, key="wrong")
        assert (status, body) == (401, {"success": False, "error": "auth_error", "msg": "Invalid user key"})


def test_another_host_is_refused(http_idle: Http) -> None:
    """A page in a browser that resolves its own name to this machine gets nothing."""
    assert http_idle("GET", "/api/v0/users/current", host="evil.example")[0] == 421


def test_it_says_that_it_is_for_practice(http_idle: Http) -> None:
    """users/current carries the mark that a client looks for; so do Date and the exact Content-Type."""
    status, body, headers = http_idle("GET", "/api/v0/users/current")
    assert (status, body["practice"], body["credit"]) == (200, True, 25.0)
    assert headers["content-type"] == "application/json"
    assert headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"  # where virtual time begins


def test_an_instance_key_reaches_only_its_instance(http_idle: Http) -> None:
    """Show, label and destroy itself; list; not another one, not the user, not a new rent."""
    mine, key = rent(http_idle)
    other, _ = rent(http_idle, label="b")
    assert http_idle("GET", f"/api/v0/instances/{mine}/", key=key)[0] == 200
    assert http_idle("PUT", f"/api/v0/instances/{mine}/", {"label": "x"}, key=key)[0] == 200
    assert http_idle("GET", "/api/v1/instances/", key=key)[1]["total_instances"] == 2
    assert http_idle("GET", f"/api/v0/instances/{other}/", key=key)[0] == 401
    assert http_idle("DELETE", f"/api/v0/instances/{other}/", key=key)[0] == 401
    assert http_idle("DELETE", "/api/v0/instances/", {"instance_ids": [other]}, key=key)[0] == 401
    assert http_idle("GET", "/api/v0/users/current", key=key)[0] == 401
    assert http_idle("PUT", "/api/v0/asks/20000000/", LAUNCH, key=key)[0] == 401
    assert http_idle("DELETE", f"/api/v0/instances/{mine}/", {}, key=key)[1] == {"success": True}
    assert http_idle("DELETE", f"/api/v0/instances/{mine}/", {}, key=key)[0] == 401  # its key went with it
    assert http_idle("GET", f"/api/v0/instances/{mine}/")[1] == {"instances": None}


def test_lists_come_in_pages(http_idle: Http) -> None:
    """Five rows without a limit, 25 at most, a token until the end, and a bad token is refused."""
    for index in range(7):
        offers = http_idle.server.market.offer_list()
        body = {**LAUNCH, "label": f"n{index % 2}", "cancel_unavail": False}
        http_idle.server.market.create(offers[index * 3].id, body)
    _, first, _ = http_idle("GET", "/api/v1/instances/")
    assert (len(first["instances"]), first["total_instances"], first["label_counts"]) == (5, 7, {"n0": 4, "n1": 3})
    http_idle.server.market.advance(1)
    _, second, _ = http_idle("GET", f"/api/v1/instances/?after_token={first['next_token']}")
    assert (len(second["instances"]), second["next_token"]) == (2, None)
    ids = [row["id"] for row in first["instances"] + second["instances"]]
    assert ids == sorted(set(ids))
    assert all(isinstance(row["start_date"], float) and row["extra_env"] == [] for row in first["instances"])
    for query, error in (
        ("after_token=xyz", "invalid_token"),
        ('select_filters={"dph_total":{"lt":1}}', "invalid_request"),
    ):
        http_idle.server.market.advance(1)
        status, body, _ = http_idle("GET", f"/api/v1/instances/?{query}")
        assert (status, body["error"]) == (400, error)
    http_idle.server.market.advance(1)
    _, found, _ = http_idle(
        "GET", '/api/v1/instances/?limit=25&select_filters={"label":{"eq":"n1"}}&select_cols=["id"]'
    )
    assert [list(row) for row in found["instances"]] == [["id"]] * 3


def test_the_old_list_is_gone_unless_it_is_wanted(http_idle: Http) -> None:
    """v0 answers 410 as for a new account; disarmed, it gives the old shape."""
    assert http_idle("GET", "/api/v0/instances/")[0] == 410
    http_idle.control("disarm", {"name": "v0_gone"})
    http_idle.server.market.advance(20)
    assert http_idle("GET", "/api/v0/instances/")[1]["instances_found"] == 0


def test_calls_that_come_too_soon_are_refused(http_idle: Http) -> None:
    """Each endpoint has its interval, by the market's clock; an early create shuts the door for longer."""
    path = "/api/v0/asks/1/"
    assert [http_idle("PUT", path, LAUNCH)[0] for _ in range(2)] == [404, 429]
    http_idle.server.market.advance(4.5)
    assert http_idle("PUT", path, LAUNCH)[0] == 429
    http_idle.server.market.advance(17)
    assert http_idle("PUT", path, LAUNCH)[0] == 404


@pytest.mark.parametrize("endpoint", ["user", "list"])
def test_429_comes_in_three_styles(http_idle: Http, endpoint: str) -> None:
    """Plain text, detail, and rate_limit_exceeded with retry_after in body and header."""
    path = {"user": "/api/v0/users/current", "list": "/api/v1/instances/"}[endpoint]
    seen = []
    for style in ("text", "detail", "json"):
        http_idle.control("fault", {"name": f"429_{style}", "endpoint": endpoint})
        seen.append(http_idle("GET", path))
    assert [status for status, _, _ in seen] == [429] * 3
    text = f"API requests too frequent endpoint threshold={ENDPOINTS[endpoint].interval_s}"
    assert seen[0][1] == text
    assert seen[1][1] == {"detail": text}
    assert seen[2][1]["error"] == "rate_limit_exceeded"
    assert int(seen[2][2]["retry-after"]) >= 1
    assert http_idle("GET", path)[0] == 200


def test_the_daily_quota_lasts_until_midnight(http_idle: Http) -> None:
    """search_quota_exceeded tells when it ends."""
    http_idle.control("fault", {"name": "quota"})
    status, body, headers = http_idle("POST", "/api/v0/bundles/", {})
    assert (status, body["error"]) == (429, "search_quota_exceeded")
    assert int(headers["x-ratelimit-reset"]) % 86400 == 0
    assert int(headers["retry-after"]) == int(headers["x-ratelimit-reset"]) - 1_790_000_000


@pytest.mark.parametrize("fault", ["lost", "502_done", "garbled"])
def test_an_answer_can_be_lost_after_the_deed(http_idle: Http, fault: str) -> None:
    """The instance exists although the client cannot know it; a label finds it."""
    offer = http_idle.server.market.offer_list()[0]
    http_idle.control("fault", {"name": fault, "endpoint": "create"})
    try:
        status, body, _ = http_idle("PUT", f"/api/v0/asks/{offer.id}/", {**LAUNCH, "label": "lost"})
    except (http.client.HTTPException, OSError, ValueError):
        status, body = 0, ""
    assert (status, "new_contract" in body) == (502 if fault == "502_done" else 0, False)
    assert http_idle("GET", "/api/v1/instances/")[1]["label_counts"] == {"lost": 1}


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("502", 502), ("429_text", 429)])
def test_a_destroy_can_fail_and_then_find_nothing(http_idle: Http, fault: str, status: int) -> None:
    """A failed DELETE has done nothing; the next one does it, the one after says 404."""
    instance, _ = rent(http_idle)
    http_idle.control("fault", {"name": fault, "endpoint": "destroy"})
    path = f"/api/v0/instances/{instance}/"
    seen = [http_idle("DELETE", path, {})[0]]
    for _ in range(2):
        http_idle.server.market.advance(3)
        seen.append(http_idle("DELETE", path, {})[0])
    assert seen == [status, 200, 404]


def test_the_second_page_can_fail(http_idle: Http) -> None:
    """A list that cannot be read whole is not a list."""
    for offer in http_idle.server.market.offer_list()[:12:2]:
        http_idle.server.market.create(offer.id, {**LAUNCH, "cancel_unavail": False})
    http_idle.control("fault", {"name": "list_page"})
    _, first, _ = http_idle("GET", "/api/v1/instances/")
    http_idle.server.market.advance(1)
    assert http_idle("GET", f"/api/v1/instances/?after_token={first['next_token']}")[0] == 500


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/api/v0/bundles/", [], 400, "invalid_request"),
        ("GET", "/api/v0/bundles/?q=%7B", None, 400, "invalid_request"),
        ("GET", "/api/v0/instances/abc/", None, 400, "invalid_args"),
        ("PUT", "/api/v0/instances/request_logs/9/", {}, 404, "invalid_id"),
        ("PUT", "/api/v0/instances/bid_price/9/", {"price": 1}, 404, "no_such_instance"),
        ("PUT", "/api/v0/instances/reboot/9/", {}, 404, "no_such_instance"),
        ("PUT", "/api/v0/instances/recycle/9/", {}, 404, "no_such_instance"),
        ("GET", "/api/v0/instances/9/logs", None, 404, "not_found"),
        ("POST", "/api/v0/instances/", {}, 404, "not_found"),
    ],
)
def test_wrong_requests_get_the_market_s_own_words(
    http_idle: Http, method: str, path: str, body: object, status: int, error: str
) -> None:
    """Bad JSON, bad ids, and paths that clients only imagined."""
    seen, answer, _ = http_idle(method, path, body)
    assert (seen, answer["error"]) == (status, error)


def test_control_has_its_own_key(http_idle: Http) -> None:
    """The account's key does not open it; a wrong order is explained."""
    assert http_idle("GET", "/practice/state")[0] == 401
    control = http_idle.server.control_key
    assert http_idle("POST", "/practice/fault", {"name": "meteor"}, key=control)[0] == 400
    assert http_idle("POST", "/practice/fault", {"name": "500", "endpoint": "x"}, key=control)[0] == 400
    assert http_idle("POST", "/practice/advance", {"seconds": -1}, key=control)[0] == 400
    instance, _ = rent(http_idle)
    http_idle.control("advance", {"seconds": 3620})
    http_idle.control("traffic", {"instance": instance, "down": 10**9})
    state: Any = http_idle.control("state")
    assert [row["actual_status"] for row in state["instances"]] == ["running"]
    assert state["bills"][0]["gpu_ms"] == 3_600_000
    assert float(state["credit_usd"]) + float(state["spent_usd"]) == pytest.approx(25)
    http_idle("GET", "/api/v0/users/current?api_key=secret")
    requests: Any = http_idle.control("requests")
    assert requests["requests"][-1]["target"] == "/api/v0/users/current?api_key=..."


def test_a_watcher_is_told_before_and_after_the_deed(market: Market) -> None:
    """Before, nothing is rented; after, it is, and the client has no answer yet. What is refused has no after."""
    told: list[tuple[str, str, int]] = []

    def watch(when: str, endpoint: str, call: Call) -> None:
        told.append((when, endpoint, len(market.rows())))
        if call.body.get("label") == "lost" and when == "after":
            raise ConnectionError

    with contextlib.closing(PracticeServer(market, on_call=watch)) as server:
        ask = market.offer_list()[0].id
        send(server, "PUT", f"/api/v0/asks/{ask}/", {**LAUNCH, "cancel_unavail": False})
        market.advance(20)
        with pytest.raises((http.client.HTTPException, OSError)):
            send(server, "PUT", f"/api/v0/asks/{ask}/", {**LAUNCH, "cancel_unavail": False, "label": "lost"})
        market.advance(20)
        assert send(server, "PUT", "/api/v0/asks/1/", LAUNCH) == 404
        assert send(server, "GET", f"/instance_logs/{'0' * 32}.log") == 404
    assert told == [
        ("before", "create", 0),
        ("after", "create", 1),
        ("before", "create", 1),
        ("after", "create", 2),
        ("before", "create", 2),
        ("before", "log_file", 2),
    ]


def send(server: PracticeServer, method: str, path: str, body: object = None) -> int:
    """Send a request and give its status."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Authorization": f"Bearer {server.market.key}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


CLIENT = """
import sys, urllib.request as u
u.urlopen(u.Request(sys.argv[1], sys.stdin.buffer.read(), {"Authorization": sys.argv[2]}, method="PUT")).read()
print("heard", flush=True)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_can_be_killed_at_its_call(http_idle: Http, when: str) -> None:
    """The signal strikes once, at that call; the deed is done all the same, and the client never hears of it."""
    server = http_idle.server
    ask = http_idle.server.market.offer_list()[0].id
    line = [sys.executable, "-c", CLIENT, f"{server.url}/api/v0/asks/{ask}/", f"Bearer {server.market.key}"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        http_idle.control("kill", {"pid": client.pid, "endpoint": "create", "when": when})
        out, _ = client.communicate(json.dumps({**LAUNCH, "label": "orphan"}).encode(), timeout=20)
    assert (client.returncode, out) == (-signal.SIGKILL, b"")
    until(server.market.rows)
    state: Any = http_idle.control("state")
    assert [(kill["pid"], kill["struck"]) for kill in state["kills"]] == [(client.pid, 1)]
    http_idle.server.market.advance(20)
    assert http_idle("PUT", "/api/v0/asks/1/", LAUNCH)[0] == 404  # it strikes once only


@pytest.mark.parametrize(
    "change",
    [{"pid": 1}, {"pid": 0}, {"pid": -5}, {"pid": os.getpid()}, {"signal": 999}, {"when": "x"}, {"endpoint": "x"}],
)
def test_not_everything_can_be_killed(http_idle: Http, change: dict[str, object]) -> None:
    """Not the first process, no group, not the market itself; and only at what there is."""
    body = {"pid": 2**22 + 1, "endpoint": "create", "when": "after", **change}
    assert http_idle("POST", "/practice/kill", body, key=http_idle.server.control_key)[0] == 400


def test_every_byte_that_came_is_kept(http_idle: Http) -> None:
    """Bodies whole, of any bytes and in chunks, of refused and unknown requests too; never a header."""
    odd = b'{"a": "\xff\x00'
    head = f"Host: 127.0.0.1:{http_idle.server.port}\r\nAuthorization: Bearer canary\r\n"
    chunk = f"{len(odd):x}\r\n".encode() + odd + b"\r\n0\r\n\r\n"
    for line, body in (
        (f"PATCH /nowhere?x=1 HTTP/1.1\r\n{head}Content-Length: {len(odd)}\r\n\r\n", odd),
        (f"PUT /api/v0/asks/1/ HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n", chunk),
        (f"PUT /evil HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {len(odd)}\r\n\r\n", odd),
    ):
        with socket.create_connection(("127.0.0.1", http_idle.server.port), timeout=20) as sock:
            sock.sendall(line.encode() + body)
            assert sock.recv(1 << 16)
    found: Any = http_idle.control("requests")
    assert [(seen["method"], seen["endpoint"], seen["status"]) for seen in found["requests"]] == [
        ("PATCH", None, 404),
        ("PUT", "create", 401),
        ("PUT", None, 421),
    ]
    assert [seen["body"].encode("utf-8", "surrogateescape") for seen in found["requests"]] == [odd] * 3
    assert (found["dropped"], "canary" in json.dumps(found)) == (0, False)


def test_what_is_too_long_is_refused_and_said_to_be_cut(http_idle: Http) -> None:
    """413, with the begin of it kept."""
    status, _, _ = http_idle("PUT", "/api/v0/asks/1/", "x" * (1 << 20))
    (seen,) = http_idle.server.seen
    assert (status, seen.whole, len(seen.body)) == (413, False, 1 << 20)


def test_charges_need_the_right_to_see_bills(http_idle: Http) -> None:
    """The account's key may ask, an instance's may not."""
    instance, key = rent(http_idle)
    http_idle.server.market.advance(60)
    _, body, _ = http_idle("GET", "/api/v0/charges/?select_filters=%7B%22day%22%3A%7B%22gte%22%3A0%7D%7D")
    assert [row["source"] for row in body["results"]] == [f"instance-{instance}"]
    assert http_idle("GET", "/api/v0/charges/", key=key)[0] == 401


def test_an_instance_can_end_itself(real: PracticeServer) -> None:
    """From inside, with what the environment gives: row and process are gone, and the bill stays."""
    market = real.market
    text = (
        "import os, urllib.request as u; r = u.Request(os.environ['BASE'] + '/api/v0/instances/' + "
        "os.environ['CONTAINER_ID'] + '/', method='DELETE', headers={'Authorization': 'Bearer ' + "
        "os.environ['CONTAINER_API_KEY']}); u.urlopen(r).read(); import time; time.sleep(99)"
    )
    body = {**LAUNCH, "onstart": "python3", "args": ["-c", text], "env": {"BASE": real.url}}
    answer = market.create(market.offer_list()[0].id, body)
    until(lambda: not market.rows())
    assert market.show(int(str(answer["new_contract"]))) is None
    assert market.spent_usd() > 0
