"""Find one job's output by what a person calls it: the job's id, the input's name or the output's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from uprez.config.kinds import nearest
from uprez.errors import StoreError, UsageError
from uprez.fleet.records import intact
from uprez.fleet.resume import Memory, each, remember
from uprez.report.results import Output
from uprez.store import keys, objects
from uprez.store.open import Home

State = Literal["done", "gone", "unfinished"]

_ID = re.compile(r"[0-9a-f]{4,16}")
_LIST = "see: uprez url --list"
_SHOWN = 5
"""Candidates that a message names at most."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One output, or one job that has none yet."""

    job: str
    input: str
    """Name of the input; empty where only checkpoints are known."""
    output: Output | None


def entries(home: Home) -> list[Entry]:
    """List every job that the place knows, by the names of their outputs."""
    memory = remember(home)
    found = [*_done(memory), *_begun(memory)]
    known = {entry.job for entry in found}
    keyed = (keys.parse(key) for key in objects.listing(home, "jobs/"))
    others = {key.job for key in keyed if key} - known
    found += [Entry(job=job, input="", output=None) for job in others]
    return sorted(found, key=lambda entry: (entry.output is None, entry.output.path if entry.output else entry.job))


def states(home: Home, found: list[Entry]) -> list[State]:
    """Say of each entry whether its output is there."""

    def state(entry: Entry) -> State:
        if entry.output is None:
            return "unfinished"
        return "done" if intact(home, entry.output) else "gone"

    return each(home, state, found)


def find(home: Home, name: str) -> Output:
    """Give the output that a name means.

    Raises UsageError where it means none or several, StoreError where the output is not there (any more).
    """
    found = entries(home)
    matches = _matches(home, found, name)
    if not matches:
        raise UsageError(f"no job is called {name}{nearest(name, _names(home, found))}", hint=_LIST)
    outputs = [entry for entry in matches if entry.output is not None]
    if not outputs:
        raise StoreError(f"job {matches[0].job} is not finished", hint="the same uprez run goes on with it")
    if len({entry.job for entry in outputs}) > 1:
        raise UsageError(f"{name} may be {_told(outputs)}", hint="name the output, or more of the job's id")
    for entry in outputs:
        if entry.output is not None and intact(home, entry.output):
            return entry.output
    raise StoreError(
        f"the output of job {outputs[0].job} is not there any more, or is another file: {_told(outputs)}",
        hint="the same uprez run makes it again",
    )


def _matches(home: Home, found: list[Entry], name: str) -> list[Entry]:
    """Give what a name means at its most exact: a whole id or path, then a last part of a path, then some of an id."""
    exact = [entry for entry in found if name in (entry.job, *_paths(home, entry))]
    if exact:
        return exact
    ends = [entry for entry in found if any(f"/{path}".endswith(f"/{name}") for path in _paths(home, entry))]
    if ends:
        return ends
    return [entry for entry in found if _ID.fullmatch(name) and entry.job.startswith(name)]


def _paths(home: Home, entry: Entry) -> tuple[str, ...]:
    if entry.output is None:
        return (entry.input,) if entry.input else ()
    path = entry.output.path
    return entry.input, path, path.removeprefix(home.base), home.shown(path), home.url(path)


def _names(home: Home, found: list[Entry]) -> set[str]:
    """List what may be meant by something that is nothing: names, their last parts and ids."""
    paths = {path for entry in found for path in _paths(home, entry)[:3]}
    return {*paths, *(path.rpartition("/")[2] for path in paths), *(entry.job for entry in found)}


def _told(found: list[Entry]) -> str:
    shown = [f"{entry.output.path} ({entry.job})" for entry in found if entry.output]
    more = f" or one of {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return " or ".join(shown[:_SHOWN]) + more


def _done(memory: Memory) -> list[Entry]:
    return [
        Entry(job=job, input=manifest.input, output=output)
        for job, manifest in memory.manifests.items()
        for output in manifest.outputs
    ]


def _begun(memory: Memory) -> list[Entry]:
    return [Entry(job=job, input="", output=None) for job in memory.pending if job not in memory.manifests]
