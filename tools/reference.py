"""Write the tables of docs/reference/configuration.md from the table of settings: python tools/reference.py."""

from __future__ import annotations

from pathlib import Path

from uprez.config.document import Reader
from uprez.config.key import Key, Rule
from uprez.config.keys import KEYS, flag_of
from uprez.config.kinds import SWITCH

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "configuration.md"
BEGIN, END = "<!-- tables: made by tools/reference.py -->", "<!-- end of tables -->"
TITLES = {
    "": "At the top",
    "video": "video: the picture",
    "batch": "batch: which of the videos",
    "b2": "b2: the bucket",
    "vast": "vast: what may be rented",
    "advanced": "advanced: from the old system",
    "local": "local: timing of the local market, objects in a folder",
    "local_bucket": "local_bucket: the same, objects in a bucket",
    "rented": "rented: the same for machines that cost money",
}
REMOTE: dict[Rule, str] = {
    "no": "",
    "free": "yes",
    "prefix": "a prefix of the bucket",
    "falls": "may fall",
    "rises": "may rise",
    "true": "may become true",
    "grows": "may grow",
    "narrows": "may narrow",
}


def tables() -> str:
    """Give every setting with its flag, variable, values and default, a table for each section."""
    data = (Path(__file__).resolve().parent.parent / "src/uprez/config/defaults.yaml").read_bytes()
    defaults = Reader(name="defaults.yaml", layer="defaults").document(data).values
    parts = []
    for section, title in TITLES.items():
        names = [name for name in KEYS if name.rpartition(".")[0] == section]
        rows = [_row(name, KEYS[name], defaults[name].text if name in defaults else "") for name in names]
        head = "| key | flag, variable | value | default | remote | what |\n|---|---|---|---|---|---|"
        parts.append("\n".join([f"### {title}", "", head, *rows]))
    return "\n\n".join(parts)


def page(text: str) -> str:
    """Put the tables into the page's text."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


def _row(name: str, key: Key, default: str) -> str:
    flag = f"{flag_of(name)}/--no-{flag_of(name)[2:]}" if key.kind is SWITCH else flag_of(name)
    ways = [f"`{way}`" for way in (*([flag] if key.flag else []), *filter(None, (key.env, key.old_env)), *key.also)]
    what = f"Retired: {key.retired}." if key.retired else key.help + (" *Not acted on yet.*" if key.not_yet else "")
    allowed = "" if key.retired else key.kind.allowed
    cells = (f"`{name}`", ", ".join(ways), allowed, f"`{default}`" if default else "", REMOTE[key.remote], what)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
