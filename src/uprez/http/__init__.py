"""The one HTTP client: time limits, sizes, retries, redirects and proxies are decided here and nowhere else.

429, 500, 502, 503, 504, broken connections and silence are passing and tried again, never sooner than the server asks;
any other status from 400 on is final. Messages show a URL without its query, which may hold a signature.
"""

from uprez.http.exchange import LIMITS, Body, Limits, Part, Response, request
from uprez.http.files import Facts, download, head
from uprez.http.ranges import RangeFile
from uprez.http.traffic import so_far as traffic
from uprez.http.words import server_message, shown, xml_value

__all__ = [
    "LIMITS",
    "Body",
    "Facts",
    "Limits",
    "Part",
    "RangeFile",
    "Response",
    "download",
    "head",
    "request",
    "server_message",
    "shown",
    "traffic",
    "xml_value",
]
