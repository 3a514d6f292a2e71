"""Which models a job needs. Cheap to import, as their table is."""

from __future__ import annotations

from uprez.job import Options

INTERPOLATOR = "rife"
"""The model that makes frames between others."""


def models_of(options: Options) -> tuple[str, ...]:
    """Name the models of a job: what makes pictures larger, then what makes frames between others."""
    larger = (options.model,) if options.upscales else ()
    return (*larger, *((INTERPOLATOR,) if options.interpolates else ()))
