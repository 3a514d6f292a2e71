"""Every object key is composed and parsed here, and nowhere else. Keys are relative to the state prefix.

uprez.json                                  the marker: this prefix is ours
leases/<lease>/sheet.json                   written by the controller only
leases/<lease>/status.json                  written by that worker only
leases/<lease>/log-<n>.txt                  likewise
leases/<lease>/upload-<n>.json              how that attempt's result is written in parts; by the controller only
networks/<sha256>                           a converted network, for rented machines
wheels/<sha256>                             a version of uprez, likewise
jobs/<job>/source                           an input of the controller's machine, likewise
jobs/<job>/index/<attempt>                  published by a worker
jobs/<job>/index.json                       the pin of the one that counts
jobs/<job>/plan-<plan>.json                 written by the controller only; <plan>: <n>-<8 hex digits of its SHA-256>
jobs/<job>/<plan>/segment-<k>/<attempt>     published by a worker
jobs/<job>/<plan>/segment-<k>.json          the pin of the one that counts
jobs/<job>/<plan>/result/<attempt>          published by a worker
jobs/<job>/evidence/<plan>/<attempt>.json    why an attempt was refused; .png: what it showed beside the source
jobs/<job>/publish.json                     the result that counts and the name it is about to get
jobs/<job>/result.json                      written last: the job is done
batches/<batch>/results.json                what a run did
probes/<probe>                              what `uprez doctor` tries the store with; gone as soon as it was seen

Beside a prefix that is not marked yet, a probe is called <prefix>-probe-<probe>: one that a kill leaves must not make
the prefix a stranger's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = ".uprez"
MARKER = "uprez.json"

_LEASE = r"(?P<lease>[0-9a-f]{8})"
_JOB = r"(?P<job>[0-9a-f]{16})"
_PLAN_ID = r"(?P<plan_id>[1-9][0-9]{0,5}-[0-9a-f]{8})"
_NUMBER = r"(?P<number>0|[1-9][0-9]{0,8})"
_ATTEMPT = r"(?P<attempt>[0-9a-f]{8}-[1-9][0-9]{0,8})"

_SHAPES: dict[str, re.Pattern[str]] = {
    "marker": re.compile(r"uprez\.json"),
    "sheet": re.compile(rf"leases/{_LEASE}/sheet\.json"),
    "status": re.compile(rf"leases/{_LEASE}/status\.json"),
    "log": re.compile(rf"leases/{_LEASE}/log-{_NUMBER}\.txt"),
    "upload": re.compile(rf"leases/{_LEASE}/upload-{_NUMBER}\.json"),
    "network": re.compile(r"networks/(?P<sha256>[0-9a-f]{64})"),
    "wheel": re.compile(r"wheels/(?P<sha256>[0-9a-f]{64})"),
    "source": re.compile(rf"jobs/{_JOB}/source"),
    "index": re.compile(rf"jobs/{_JOB}/index/{_ATTEMPT}"),
    "index_pin": re.compile(rf"jobs/{_JOB}/index\.json"),
    "plan": re.compile(rf"jobs/{_JOB}/plan-{_PLAN_ID}\.json"),
    "segment": re.compile(rf"jobs/{_JOB}/{_PLAN_ID}/segment-{_NUMBER}/{_ATTEMPT}"),
    "segment_pin": re.compile(rf"jobs/{_JOB}/{_PLAN_ID}/segment-{_NUMBER}\.json"),
    "assembly": re.compile(rf"jobs/{_JOB}/{_PLAN_ID}/result/{_ATTEMPT}"),
    "evidence": re.compile(rf"jobs/{_JOB}/evidence/{_PLAN_ID}/{_ATTEMPT}\.(?:json|png)"),
    "publish": re.compile(rf"jobs/{_JOB}/publish\.json"),
    "manifest": re.compile(rf"jobs/{_JOB}/result\.json"),
    "results": re.compile(r"batches/(?P<batch>[0-9a-f]{8})/results\.json"),
    "probe": re.compile(r"probes/(?P<probe>[0-9a-f]{8})"),
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a key says: its shape (a name of the list above) and the names in it; empty or -1 where it has none."""

    shape: str
    lease: str = ""
    job: str = ""
    batch: str = ""
    probe: str = ""
    sha256: str = ""
    plan_id: str = ""
    number: int = -1
    attempt: str = ""


def parse(key: str) -> Key | None:
    """Say what a key is, or None when it is not one of ours: such an object is never read and never deleted."""
    for shape, pattern in _SHAPES.items():
        match = pattern.fullmatch(key)
        if match:
            names = match.groupdict()
            return Key(
                shape=shape,
                lease=names.get("lease", ""),
                job=names.get("job", ""),
                batch=names.get("batch", ""),
                probe=names.get("probe", ""),
                sha256=names.get("sha256", ""),
                plan_id=names.get("plan_id", ""),
                number=int(names.get("number", -1)),
                attempt=names.get("attempt", ""),
            )
    return None


def sheet(lease: str) -> str:
    """Key of a lease's sheet."""
    return f"leases/{lease}/sheet.json"


def status(lease: str) -> str:
    """Key of a lease's status."""
    return f"leases/{lease}/status.json"


def log(lease: str, number: int) -> str:
    """Key of part `number` (from 0) of a lease's log."""
    return f"leases/{lease}/log-{number}.txt"


def log_prefix(lease: str) -> str:
    """Where all parts of a lease's log lie."""
    return f"leases/{lease}/log-"


def upload(lease: str, number: int) -> str:
    """Key of the side object that describes the multipart upload of try `number` made on a lease."""
    return f"leases/{lease}/upload-{number}.json"


def network(sha256: str) -> str:
    """Key of a converted network."""
    return f"networks/{sha256}"


def wheel(sha256: str) -> str:
    """Key of a version of uprez that rented machines install."""
    return f"wheels/{sha256}"


def source(job: str) -> str:
    """Key of the copy of an input that only the controller's machine has."""
    return f"jobs/{job}/source"


def lease_prefix(lease: str) -> str:
    """Prefix of everything that belongs to one lease."""
    return f"leases/{lease}/"


def attempt(lease: str, number: int) -> str:
    """Name of try `number` (from 1) made on a lease; lease ids are never used twice, so neither is this."""
    return f"{lease}-{number}"


def job_prefix(job: str) -> str:
    """Prefix of everything that belongs to one job."""
    return f"jobs/{job}/"


def index(job: str, attempt: str) -> str:
    """Key that a worker's survey of a job is published under."""
    return f"jobs/{job}/index/{attempt}"


def index_pin(job: str) -> str:
    """Key of the pin of the survey that counts."""
    return f"jobs/{job}/index.json"


def plan(job: str, plan_id: str) -> str:
    """Key of a plan of a job: named by its content too, so that two runs on one bucket never overwrite each other's."""
    return f"jobs/{job}/plan-{plan_id}.json"


def plan_id(number: int, sha256: str) -> str:
    """Name a plan by its number and content, so that work of two plans can never mix."""
    return f"{number}-{sha256[:8]}"


def segment(job: str, plan_id: str, number: int, attempt: str) -> str:
    """Key that a worker's segment is published under."""
    return f"jobs/{job}/{plan_id}/segment-{number}/{attempt}"


def segment_pin(job: str, plan_id: str, number: int) -> str:
    """Key of the pin of the segment that counts."""
    return f"jobs/{job}/{plan_id}/segment-{number}.json"


def assembly(job: str, plan_id: str, attempt: str) -> str:
    """Key that a worker's assembled result is published under, before it is checked."""
    return f"jobs/{job}/{plan_id}/result/{attempt}"


def evidence(job: str, plan_id: str, attempt: str, suffix: str) -> str:
    """Key of what was kept of a refused attempt: "json" says why, "png" shows it beside the source."""
    return f"jobs/{job}/evidence/{plan_id}/{attempt}.{suffix}"


def publish(job: str) -> str:
    """Key of the record that a checked result is about to get its name: an interrupted publish ends by it."""
    return f"jobs/{job}/publish.json"


def manifest(job: str) -> str:
    """Key of the record that says a job is done."""
    return f"jobs/{job}/result.json"


def results(batch: str) -> str:
    """Key of a batch's results.json."""
    return f"batches/{batch}/results.json"


def probe(number: str) -> str:
    """Key of an object that is written to see whether it can be; `number` is 8 hex digits."""
    return f"probes/{number}"


def probe_beside(prefix: str, number: str) -> str:
    """Key, in the whole bucket, of the same beside a state prefix that is not marked yet."""
    return f"{prefix.strip('/')}-probe-{number}"
