"""The original's commands on a real S3 server with a remote config: they make docs/guides/original-commands.md."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shlex
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from house import REPO, House
from shown import blocks, settled

if TYPE_CHECKING:
    from s3_proxy import Proxy
    from s3_server import S3Server

PAGE = REPO / "docs" / "guides" / "original-commands.md"
REMOTE = {"video": {"mode": "upscale", "scale": 2}, "batch": {"max_files": 10}}
CONFIG = """\
config_url: http://{host}/remote.json
video:
  scale: 3             # the remote config says 2, and wins
duration: 0.2          # a fifth of a second of each video
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server without ranges, as simple ones are."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path, materials: Path) -> Iterator[str]:
    """Serve the remote config and a clip; gives host and port."""
    folder = tmp_path / "web"
    (folder / "clips").mkdir(parents=True)
    (folder / "remote.json").write_text(json.dumps(REMOTE))
    shutil.copy(materials / "carphone_pristine.mp4", folder / "clips" / "street.mp4")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(s3_server: S3Server, s3_proxy: Proxy, house: House, web: str, materials: Path) -> str:
    """Fill a bucket with two videos, and a folder with the configuration that names it."""
    name = "videos"
    s3_server.client.create_bucket(Bucket=name)
    clip = (materials / "carphone_pristine.mp4").read_bytes()
    s3_server.client.put_object(Bucket=name, Key="input/urgent/phone.mp4", Body=clip)
    s3_server.client.put_object(Bucket=name, Key="input/holiday.mp4", Body=clip + b"\0\0\0\x08free")
    (house.top / "config.yaml").write_text(CONFIG.format(host=web))
    (house.top / ".env").write_text(
        f"B2_KEY={s3_server.key}\nB2_SECRET={s3_server.secret}\nB2_BUCKET={name}\n"
        f"B2_ENDPOINT=http://127.0.0.1:{s3_proxy.port}\nB2_REGION=us-east-1\n"
    )
    return name


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.long("longer"), id="all")])
def test_the_originals_commands_work(
    house: House, web: str, s3_server: S3Server, materials: Path, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    """Each command of the page exits 0, prints what stands below it, and its links bring the right bytes.

    The suite takes the first two, `make longer` all; with UPREZ_WRITE_PAGES set, that writes the page anew.
    """
    monkeypatch.setenv("PIP_FIND_LINKS", str(materials))
    monkeypatch.setenv("PATH", str(house.top))  # pip asks every rustc on the PATH for its version
    page = PAGE.read_text()
    for command, shown in blocks(PAGE)[:most]:
        words = shlex.split(command.replace("127.0.0.1:8000", web))
        assert words[:2] == ["python", "batch_processor.py"]
        ended = house.uprez(*words[2:], program=(str(REPO / "batch_processor.py"),))
        assert ended.code == 0, ended.out + ended.err
        for line in ended.lines:
            if "Download URL" in line:
                _check_link(line.rpartition(" ")[2], s3_server)
        if most is None and os.environ.get("UPREZ_WRITE_PAGES"):
            page = _written(page, command, ended.lines, web)
        else:
            assert settled(ended.lines) == settled(shown), command
    if most is None and os.environ.get("UPREZ_WRITE_PAGES"):
        PAGE.write_text(page)


def _check_link(link: str, server: S3Server) -> None:
    path = unquote(link.partition("/videos/")[2].partition("?")[0])
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == server.client.get_object(Bucket="videos", Key=path)["Body"].read()


def _written(page: str, command: str, lines: list[str], web: str) -> str:
    text = "\n".join(lines).replace(web, "127.0.0.1:8000")
    text = re.sub(r"127\.0\.0\.1:(?!8000)\d+", "127.0.0.1:9000", text)
    text = re.sub(r"\?X-Amz-\S+", "?X-Amz-Algorithm=...", text)
    start = page.index(f"$ {command}\n") + len(command) + 3
    return page[:start] + text + "\n" + page[page.index("```", start) :]
