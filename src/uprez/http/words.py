"""What messages say of a URL and of a server's answer."""

from __future__ import annotations

import html
import re


def shown(url: str) -> str:
    """Give a URL for messages: without its query, which may be a signature, and without user and password."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]  # not by urlsplit: what it refuses must be shown too
    return re.sub(r"^([^/]*//)[^/]*@", r"\1", bare)


def server_message(data: bytes) -> str:
    """Give a server's own words for a failure: Code and Message of S3's XML, or the first line of a plain text."""
    text = data.decode(errors="replace").strip()
    code, message = xml_value(text, "Code"), xml_value(text, "Message")
    if code or message:
        return ": ".join(filter(None, (code, message)))
    return "" if text.startswith("<") else text.partition("\n")[0].strip()[:200]


def xml_value(text: str, name: str) -> str:
    """Give the text of the first element of that name, "" where there is none; for S3's flat documents."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return html.unescape(found[1]).strip() if found else ""
