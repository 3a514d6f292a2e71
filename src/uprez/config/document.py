"""Files of settings: YAML or JSON text in, checked values with their file and line out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from uprez.config.keys import KEYS, RIVALS, SECTIONS
from uprez.config.kinds import Kind, Value, nearest
from uprez.config.locations import shown
from uprez.config.settings import Origin
from uprez.errors import UsageError

JSON_MOST = 100_000
"""Characters of JSON that are read for their lines too."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A value and where it was given."""

    value: Value
    text: str
    """As it was written, for people; of a secret, asterisks."""
    origin: Origin


Values = dict[str, Given]
"""By dotted key."""


def laid_over(below: Values, above: Values) -> Values:
    """Lay a layer over others: of what it sets, theirs no longer counts, nor their other way to say the same."""
    gone = {RIVALS[name] for name in above if name in RIVALS}
    return {**{name: given for name, given in below.items() if name not in gone}, **above}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named bundle of settings."""

    values: Values
    base: Given | None = None
    """The preset it builds on."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """What one file says."""

    values: Values = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    """The words at its left edge, sorted."""


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A part of the file: a text, a list or a mapping; none of them where nothing (null) is written."""

    line: int
    text: str | None = None
    items: tuple[_Node, ...] | None = None
    entries: dict[str, _Node] | None = None

    @property
    def empty(self) -> bool:
        return self.text is None and self.items is None and self.entries is None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one file."""

    name: str
    """The file, for messages."""
    layer: str

    def document(self, data: bytes) -> Document:
        """Read a file of settings; raises UsageError that names the file, the line and the key."""
        top = self._top(data)
        values: Values = {}
        presets: dict[str, Preset] = {}
        for name, node in top.items():
            if name == "presets":
                presets = {key: self._preset(key, found) for key, found in self._entries("presets", node).items()}
            else:
                values.update(self._values(name, node, path=name))
        return Document(values=values, presets=presets, sections=tuple(sorted(top)))

    def preset(self, data: bytes, name: str) -> Preset:
        """Read a file that is one preset."""
        return self._preset(name, _Node(line=1, entries=self._top(data)))

    def _preset(self, name: str, node: _Node) -> Preset:
        values: Values = {}
        base = None
        where = f"presets.{name}"
        for key, found in self._entries(where, node).items():
            if key == "preset":
                base = self._given("batch.preset", found, path=f"{where}.preset")
                continue
            # A rental filter may stand in a preset without its section.
            flat = key not in SECTIONS and key not in KEYS and f"vast.{key}" in KEYS
            values.update(self._values(f"vast.{key}" if flat else key, found, path=f"{where}.{key}"))
        return Preset(values=values, base=base)

    def _values(self, name: str, node: _Node, *, path: str) -> Values:
        if name in SECTIONS:
            found: Values = {}
            for key, inner in self._entries(path, node).items():
                found.update(self._leaf(f"{name}.{key}", inner, path=f"{path}.{key}"))
            return found
        return self._leaf(name, node, path=path)

    def _leaf(self, name: str, node: _Node, *, path: str) -> Values:
        if name not in KEYS:
            known = [*KEYS, "presets", *SECTIONS]
            near = _elsewhere(name) or nearest(name, known)
            variable = any(name in (key.env, *key.also) for key in KEYS.values())
            raise UsageError(
                f"{self._at(node)}: {path} is not a setting" + (", but a variable" if variable else near),
                hint="it belongs in .env or the environment"
                if variable
                else "docs/reference/configuration.md lists them all",
            )
        given = self._given(name, node, path=path)
        return {} if given is None else {name: given}

    def _given(self, name: str, node: _Node, *, path: str) -> Given | None:
        key = KEYS[name]
        if node.empty:
            return None
        if key.env_only:
            why = "is a secret and" if key.secret else "says where a secret is sent and"
            raise UsageError(
                f"{self._at(node)}: {path} {why} may not stand in a file of settings",
                hint=f"put it into .env or the environment as {key.env or key.also[0]}",
            )
        origin = Origin(layer=self.layer, place=self._at(node))
        texts = [node.text] if node.text is not None else [item.text for item in node.items or ()]
        if node.entries is not None or (node.items is not None and not key.kind.many) or None in texts:
            what = "a list" if node.items is not None else "a section"
            raise UsageError(f"{self._at(node)}: {path} is {what}, not a value", hint=key.kind.allowed)
        return read(name, [text for text in texts if text is not None], origin, f"{self._at(node)}: {path}")

    def _entries(self, path: str, node: _Node) -> dict[str, _Node]:
        if node.empty:
            return {}
        if node.entries is None:
            raise UsageError(f"{self._at(node)}: {path} is not a section", hint="indent its settings below it")
        return node.entries

    def _at(self, node: _Node) -> str:
        return f"{self.name}:{node.line}" if node.line else self.name

    def _top(self, data: bytes) -> dict[str, _Node]:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise UsageError(f"{self.name}:{line}: is not UTF-8 text", hint="save the file as UTF-8") from error
        node = self._parsed(text)
        if node.empty:
            return {}
        if node.entries is None:
            raise UsageError(f"{self.name}: holds no settings by name", hint="write lines such as `video:`")
        return node.entries

    def _parsed(self, text: str) -> _Node:
        if text.lstrip().startswith("{"):
            try:
                found = self._from_json(text)
            except ValueError:
                pass  # a mapping in YAML's short form looks the same at its start
            else:
                if len(text) > JSON_MOST or "\\u" in text:
                    return found  # without lines: YAML is many times slower, and reads surrogates one by one
                text = text.replace("\t", " ")  # YAML trips over them, and in JSON they only stand between words
        try:
            return self._from_yaml(yaml.compose(text, Loader=yaml.SafeLoader), {})
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise UsageError(f"{self.name}{line}: is neither YAML nor JSON: {_problem(error)}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"{self.name}: is neither YAML nor JSON") from error

    def _from_yaml(self, node: yaml.Node | None, seen: dict[int, _Node]) -> _Node:
        """Read a node once, however often the file points to it: ten lines of aliases can stand for a billion."""
        if node is None:
            return _Node(line=0)
        if id(node) not in seen:
            seen[id(node)] = self._read_yaml(node, seen)
        return seen[id(node)]

    def _read_yaml(self, node: yaml.Node, seen: dict[int, _Node]) -> _Node:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            nothing = node.tag == "tag:yaml.org,2002:null"
            return _Node(line=line, text=None if nothing else str(node.value).strip())
        if isinstance(node, yaml.SequenceNode):
            return _Node(line=line, items=tuple(self._from_yaml(item, seen) for item in node.value))
        entries: dict[str, _Node] = {}
        for key, value in node.value:
            name, at = str(key.value), key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(f"{self.name}:{at}: what stands before the colon is no name")
            if name in entries:
                raise UsageError(f"{self.name}:{at}: {name[:60]} stands twice in its section")
            # A value is found at its key's line, whatever follows there.
            entries[name] = replace(self._from_yaml(value, seen), line=at)
        return _Node(line=line, entries=entries)

    def _from_json(self, text: str) -> _Node:
        def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, value in pairs:
                if name in found:
                    line = next(
                        number
                        for number, row in reversed(list(enumerate(text.splitlines(), start=1)))
                        if json.dumps(name) in row or number == 1
                    )
                    raise UsageError(f"{self.name}:{line}: {name[:60]} stands twice in its section")
                found[name] = value
            return found

        try:
            return _of(json.loads(text, object_pairs_hook=mapping, parse_int=str, parse_float=str))
        except RecursionError as error:
            raise UsageError(f"{self.name}: is neither YAML nor JSON") from error


def read(name: str, texts: list[str], origin: Origin, where: str) -> Given:
    """Read a key's value as its kind does; `where` begins the message. Raises UsageError that shows no secret."""
    key = KEYS[name]
    try:
        value = _read(key.kind, texts)
    except ValueError as error:
        problem = error.args[0]
        written = "" if key.secret else f" {', '.join(map(shown, texts))[:200]}"
        raise UsageError(f"{where}{written} {problem}", hint=key.kind.allowed) from error
    return Given(value=value, text="****" if key.secret else ", ".join(texts), origin=origin)


def _read(kind: Kind, texts: list[str]) -> Value:
    if not kind.many:
        return kind.read(texts[0])
    found: list[str] = []
    for text in texts:
        items = kind.read(text)
        assert isinstance(items, tuple)  # noqa: S101  for the type: a kind of many gives tuples
        found.extend(item for item in items if item not in found)
    return tuple(found)


def _of(value: Any) -> _Node:  # noqa: ANN401  JSON's own
    if isinstance(value, dict):
        return _Node(line=0, entries={name: _of(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return _Node(line=0, items=tuple(_of(item) for item in value))
    if isinstance(value, bool):
        return _Node(line=0, text="true" if value else "false")
    return _Node(line=0, text=value)


def _elsewhere(name: str) -> str:
    """Suggest the section that has such a key, for one that stands in another or in none."""
    last = name.rpartition(".")[2]
    found = [key for key in KEYS if key.rpartition(".")[2] == last]
    return f": did you mean {found[0]!r}?" if found else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Say what is wrong without what the file says there: that may be a secret."""
    text = " ".join(part for part in (error.context, error.problem) if part)
    return re.sub(r"'[^'<\\]{2,}'", "'...'", text)


def walk(document: Document) -> Iterator[tuple[str | None, str, Given]]:
    """List (preset, key, value) of everything a document says, at its top and in its presets."""
    for name, given in document.values.items():
        yield None, name, given
    for preset, found in document.presets.items():
        for name, given in found.values.items():
            yield preset, name, given
