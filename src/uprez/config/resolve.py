"""What the merged values mean together: places, market, access, and the settings of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar, cast

from pydantic import TypeAdapter

from uprez.config import kinds
from uprez.config.document import Given, Values
from uprez.config.environment import folders
from uprez.config.keys import KEYS, TIMES, flag_of
from uprez.config.locations import INPUT, OUTPUT, input_folder, locate, output_folder, region_of, shown
from uprez.config.settings import Access, Location, Rental, Secret, Settings, Source, Timing
from uprez.config.variables import AMAZON
from uprez.errors import UsageError
from uprez.job import Deinterlace, Mode, Options, Precision, Strategy

REGION = "us-east-1"
"""Where neither the settings nor the endpoint name one; servers of one's own take any."""
_T = TypeVar("_T")
Market = Literal["local", "vast"]
OnBudget = Literal["finish", "stop"]


def resolve(
    values: Values,
    ranks: Mapping[str, int],
    notes: Sequence[str] = (),
    *,
    alone: tuple[Path, Path] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Make the settings of a run. `alone`: the one input, and the folder of its output. Raises UsageError."""
    bucket = _get(values, "b2.bucket", str)
    state_dir, cache_dir = folders()
    input_, input_dir = _alone_input(alone[0]) if alone else _inputs(values, ranks, bucket)
    market, reason = _market(values, input_ or input_dir) if alone is None else ("local", "")
    output_dir = _alone_output(alone[1]) if alone else _output(values, bucket, input_ or input_dir, market)
    return Settings(
        options=_options(values, ranks, market),
        input_dir=input_dir,
        input=input_,
        output_dir=output_dir,
        recursive=_switch(values, "recursive", True),
        name=_get(values, "name", str),
        exact=alone is not None,
        state_prefix=_get(values, "state_prefix", str) or ".uprez",
        state_folder=_enhance_folder(state_dir, alone[1]) if alone else None,
        market=market,
        market_reason=reason,
        budget_usd=_budget(values),
        on_budget=cast("OnBudget", _get(values, "on_budget", str) or Settings.on_budget),
        max_machines=_get(values, "max_machines", int) or 1,
        max_runtime_s=_seconds(_get(values, "max_runtime", Fraction)),
        deadline_s=_seconds(_get(values, "deadline", Fraction)),
        memory_bytes=_get(values, "memory", int),
        rental=_rental(values),
        image=_get(values, "image", str),
        git_repo=_get(values, "git_repo", str) or _get(values, "repo_url", str),
        git_branch=_get(values, "git_branch", str),
        segment_frames=_get(values, "segment_frames", int),
        dry_run=_switch(values, "batch.dry_run", False),
        skip_existing=_switch(values, "batch.skip_existing", True),
        overwrite=_switch(values, "video.overwrite", False),
        max_files=_get(values, "batch.max_files", int),
        download=_download(values),
        webhook=_get(values, "webhook_url", Secret),
        bucket=bucket,
        access=_access(values, needed=_in_bucket(input_, input_dir, output_dir)),
        vast_api_key=_get(values, "vast.api_key", Secret),
        vast_url=_get(values, "vast.url", str) or Settings.vast_url,
        state_dir=state_dir,
        cache_dir=cache_dir,
        local=_timing(values, "local"),
        bucket_timing=_timing(values, "local_bucket"),
        rented=_timing(values, "rented"),
        notes=(*notes, *_unused(values)),
        origins={name: given.origin for name, given in values.items()},
        source=Source(texts={name: given.text for name, given in values.items()}, ranks=ranks, dotenv=dotenv),
    )


def where(name: str, given: Given) -> str:
    """Begin a message about a value: its flag, or its file, line and key."""
    return flag_of(name) if given.origin.layer == "flag" else f"{given.origin.place}: {name}"


def _get(values: Values, name: str, kind: type[_T]) -> _T | None:
    given = values.get(name)
    if given is None:
        return None
    assert isinstance(given.value, kind), name  # noqa: S101  for the type: KEYS decided it
    return given.value


def _switch(values: Values, name: str, default: bool) -> bool:
    found = _get(values, name, bool)
    return default if found is None else found


def _budget(values: Values) -> Decimal:
    found = _get(values, "budget", Decimal)
    return Settings.budget_usd if found is None else found


def _seconds(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _options(values: Values, ranks: Mapping[str, int], market: Market) -> Options:
    mode = cast("Mode", _get(values, "video.mode", str) or "upscale")
    for name in _MEANINGLESS[mode]:
        _check_means(values, name, mode)
    larger, between = mode != "interp", mode != "upscale"
    if between:
        _check_rates(values, mode)
    return Options(
        mode=mode,
        scale=(_get(values, "video.scale", Fraction) or Fraction(2)) if larger else Fraction(1),
        model=(_get(values, "video.model", str) if larger else None) or Options.model,
        factor=_get(values, "video.factor", Fraction) if between else None,
        target_fps=_get(values, "video.target_fps", Fraction) if between else None,
        strategy=cast(
            "Strategy", (_get(values, "video.strategy", str) if mode == "both" else None) or Options.strategy
        ),
        precision=_precision(values, market),
        codec=_get(values, "video.codec", str) or "auto",
        container=_container(values, ranks),
        drop_unsupported=_switch(values, "video.drop_unsupported", False),
        crf=_crf(values),
        encoder_preset=_encoder_preset(values),
        pix_fmt=_get(values, "video.pix_fmt", str) or "auto",
        deinterlace=cast("Deinterlace", _get(values, "video.deinterlace", str) or "auto"),
        cfr=_get(values, "video.cfr", Fraction),
        start=_get(values, "start", Fraction) or Fraction(0),
        duration=_get(values, "duration", Fraction),
    )


_MEANINGLESS: dict[Mode, dict[str, str]] = {
    "upscale": {
        "video.target_fps": "both or interp",
        "video.factor": "both or interp",
        "video.strategy": "both",
    },
    "interp": {"video.scale": "both", "video.model": "both", "video.strategy": "both"},
    "both": {},
}
"""What a mode has no use for, and which modes have."""


def _check_means(values: Values, name: str, mode: Mode) -> None:
    """Refuse a flag that the mode has no use for; files and presets are written for several modes."""
    given = values.get(name)
    if given is None or given.origin.layer != "flag" or (name == "video.scale" and given.value == 1):
        return
    raise UsageError(
        f"{where(name, given)} {given.text} means nothing to --mode {mode}",
        hint=f"use --mode {_MEANINGLESS[mode][name]}, or leave out {flag_of(name)}",
    )


def _unused(values: Values) -> Iterator[str]:
    """Warn of a rate in a file where nobody chose the mode: the old system's files have both, and mean the mode."""
    mode = values.get("video.mode")
    for name in ("video.target_fps", "video.factor"):
        given = values.get(name)
        if given is not None and mode is not None and mode.origin.layer == "defaults":
            yield f"[WARN] {where(name, given)} does nothing in mode upscale: mode both or interp makes frames between"


def _check_rates(values: Values, mode: Mode) -> None:
    """Refuse two rates of a result that is made by interpolation. Of two layers the higher one was taken before."""
    fps, factor, cfr = (values.get(f"video.{name}") for name in ("target_fps", "factor", "cfr"))
    if fps is not None and factor is not None:
        raise UsageError(
            f"{where('video.target_fps', fps)} {fps.text} and {where('video.factor', factor)} {factor.text}"
            " exclude each other",
            hint="give the rate or the factor",
        )
    if cfr is not None:
        raise UsageError(
            f"{where('video.cfr', cfr)} {cfr.text} repeats frames, and mode {mode} makes new ones",
            hint=f"use --target-fps {cfr.text}, and leave out {flag_of('video.cfr')}",
        )


def _precision(values: Values, market: Market) -> Precision:
    """Take a preset's f16 for a wish: it is meant for GPUs, and what a CPU computes in is f32."""
    given = values.get("video.precision")
    if given is None:
        return "auto"
    on_cpu = given.value == "f16" and market == "local"
    if on_cpu and given.origin.layer == "flag":
        raise UsageError(
            f"{where('video.precision', given)} f16 is what GPUs compute in, and this machine's CPU works here",
            hint="leave it out, or rent: --market vast",
        )
    if on_cpu and given.origin.layer.startswith("preset "):
        return "auto"
    return cast("Precision", given.value)


def _crf(values: Values) -> int | None:
    return _get(values, "video.crf", int) if _has_meaning(values, "video.crf", kinds.WITHOUT_QUALITY) else None


def _encoder_preset(values: Values) -> str | None:
    name = "video.encoder_preset"
    return _get(values, name, str) if _has_meaning(values, name, kinds.WITHOUT_PRESETS) else None


def _has_meaning(values: Values, name: str, without: Collection[str]) -> bool:
    """Say whether the codec has such a thing; raises UsageError where somebody asked for it and it has not."""
    given, codec = values.get(name), values["video.codec"].text
    if given is None or codec not in without:
        return True
    if given.origin.layer.startswith("preset "):
        return False  # a preset's quality is meant for whatever codec has one
    why = "is lossless" if codec == "ffv1" else "has its quality from its profile (--encoder-preset)"
    raise UsageError(
        f"{where(name, given)} {given.text} means nothing to {codec}, which {why}",
        hint=f"leave out {flag_of(name)}, or --codec",
    )


def _container(values: Values, ranks: Mapping[str, int]) -> str:
    """Read the container off the output's name, when that has one."""
    asked = _get(values, "video.container", str) or "auto"
    name = values.get("name")
    suffix = PurePosixPath(name.text if name else "").suffix.lower().removeprefix(".")
    if name is None or suffix not in kinds.CONTAINERS:
        return asked
    if asked not in ("auto", suffix) and ranks["video.container"] >= ranks["name"]:
        raise UsageError(f"{where('name', name)} {name.text} is not named as a .{asked}", hint="leave out one of them")
    return suffix


def _inputs(values: Values, ranks: Mapping[str, int], bucket: str | None) -> tuple[Location | None, Location | None]:
    """Give the one video, or the folder to search: what was given in the higher layer, and in one layer the video."""
    name = "video.input_dir" if "video.input_dir" in values else "batch.input_dir"
    one, many = values.get("input"), values.get(name)
    if one is not None and many is not None and one.origin.layer == many.origin.layer == "flag":
        raise UsageError("--input and --input-dir exclude each other", hint="give one of them")
    if one is not None and (many is None or ranks["input"] >= ranks[name]):
        return _input(one, bucket), None
    if many is not None:
        return None, input_folder(many.text, bucket, where(name, many))
    return None, Location(text=INPUT.rstrip("/"), bucket=bucket, key=INPUT) if bucket else Location(
        text="input", folder=Path("input")
    )


def _input(given: Given, bucket: str | None) -> Location:
    found = locate(given.text, bucket, where("input", given))
    if found.folder is not None and not found.folder.is_file():
        raise UsageError(
            f"{where('input', given)} {given.text} is not a file", hint="a folder is given with --input-dir"
        )
    if found.bucket is not None and (not found.key or found.key.endswith("/")):
        raise UsageError(
            f"{where('input', given)} {given.text} is not an object", hint="a prefix is given with --input-dir"
        )
    return found


def _output(values: Values, bucket: str | None, source: Location | None, market: Market) -> Location:
    given = values.get("output_dir")
    if given is not None:
        found = output_folder(given.text, bucket, where("output_dir", given))
        if market == "vast" and found.bucket is None:
            raise UsageError(
                f"{where('output_dir', given)} {given.text} is a folder here, which no rented machine can reach",
                hint="results go to the bucket: leave it out, and bring them here with --download DIR",
            )
        return found
    target = source.bucket or (bucket if source.url or market == "vast" else None) if source else None
    if target is not None:
        return Location(text=OUTPUT.rstrip("/"), bucket=target, key=OUTPUT)
    if market == "vast":
        raise UsageError(
            "a rented machine needs a bucket for what it makes, and none is set",
            hint="set B2_BUCKET, B2_ENDPOINT, B2_KEY and B2_SECRET, or use --market local",
        )
    return Location(text="output", folder=Path("output"))


def _alone_input(path: Path) -> tuple[Location, None]:
    return Location(text=str(path), folder=path), None


def _alone_output(folder: Path) -> Location:
    return Location(text=str(folder), folder=folder)


def _enhance_folder(state_dir: Path, folder: Path) -> Path:
    """Checkpoints go to this machine's state folder: nobody expects a hidden folder beside the one file asked for."""
    return state_dir / "enhance" / hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _market(values: Values, source: Location | None) -> tuple[Market, str]:
    """Choose the market, and say why it is that one; raises UsageError where it has no key."""
    given, key = values["market"], values.get("vast.api_key")
    what = "a folder here" if source is None or source.folder else "an HTTP URL" if source.url else "in a bucket"
    if given.value == "local":
        return "local", f"set by {given.origin.place}"
    if given.value == "vast":
        if key is None and not _switch(values, "batch.dry_run", False):  # which rents nothing, and says what it lacks
            raise UsageError(
                f"{where('market', given)} vast: VAST_API_KEY is not set",
                hint="put it into .env (it is on the Keys page of console.vast.ai), or use --market local",
            )
        return "vast", f"set by {given.origin.place}"
    if key is None:
        return "local", "auto: VAST_API_KEY is not set"
    if what == "a folder here":
        return "local", "auto: the input is a folder here"
    return "vast", f"auto: VAST_API_KEY is set and the input is {what}"


def _rental(values: Values) -> Rental:
    found: dict[str, object] = {}
    for name, key in KEYS.items():
        given = values.get(name)
        if given is None or key.field is None or not key.field.startswith("rental."):
            continue
        field = key.field.removeprefix("rental.")
        if isinstance(given.value, tuple):
            before = found.get(field, ())
            assert isinstance(before, tuple)  # noqa: S101  for the type: lists are read as tuples
            found[field] = (*before, *(item for item in given.value if item not in before))
        else:
            found[field] = given.value == "bid" if field == "bid" else given.value
    return TypeAdapter(Rental).validate_python(found)


def _download(values: Values) -> Path | None:
    given = values.get("vast.download")
    if given is None:
        return None
    switch = kinds.SWITCHES.get(given.text.lower())
    if switch is not None:
        return Path("output") if switch else None
    found = locate(given.text, None, where("vast.download", given)).folder
    if found is None:
        raise UsageError(f"{where('vast.download', given)} {shown(given.text)} is not a folder here")
    return found


def _in_bucket(*places: Location | None) -> bool:
    return any(place is not None and place.bucket is not None for place in places)


def _access(values: Values, *, needed: bool) -> Access | None:
    """Put the account together; raises UsageError when a bucket is used and something is missing."""
    key, secret = _get(values, "b2.key", Secret), _get(values, "b2.secret", Secret)
    if key is None or secret is None:
        if needed:
            missing = " and ".join(name for name, value in (("B2_KEY", key), ("B2_SECRET", secret)) if value is None)
            raise UsageError(f"the bucket cannot be reached: {missing} not set", hint="put it into .env")
        return None
    region, endpoint = values.get("b2.region"), _get(values, "b2.endpoint", str)
    derived = region_of(endpoint)
    if derived and region and region.origin.layer == AMAZON:
        region = None  # Amazon's variable says nothing of Backblaze
    named = str(region.value) if region else derived
    if endpoint is None and values["b2.key"].origin.layer != AMAZON:
        endpoint = _backblaze(named, needed=needed)
    return Access(
        endpoint=endpoint,
        region=named or REGION,
        key=key,
        secret=secret,
        token=_get(values, "b2.token", Secret),
    )


def _backblaze(region: str | None, *, needed: bool) -> str | None:
    """Give the endpoint for B2's own variables, where none is named."""
    if region is None and needed:
        raise UsageError(
            "the bucket cannot be reached: B2_ENDPOINT not set",
            hint="b2.endpoint or B2_ENDPOINT: https://s3.<region>.backblazeb2.com",
        )
    return f"https://s3.{region}.backblazeb2.com" if region else None


def _timing(values: Values, section: str) -> Timing:
    found = {name: values[f"{section}.{name}"].value for name in TIMES}
    return TypeAdapter(Timing).validate_python(found)
