"""Say what a run is about to make, before anything is rented."""

from __future__ import annotations

from uprez.config.settings import Settings
from uprez.fleet import estimate, naming, readiness
from uprez.fleet.estimate import Estimate
from uprez.fleet.intake import Intake, estimated
from uprez.job import Options
from uprez.models.needed import models_of
from uprez.report.console import Console


def tell(intake: Intake, settings: Settings, console: Console) -> None:
    """Give each job in figures, and of a dry run the sum."""
    sure, made = [], []
    for work in intake.jobs:
        video, options = work.video, work.job.options
        figures = estimate.estimate(video, options)
        sure.append(figures.source_frames or 0)
        made.append(figures.frames or 0)
        console.info(
            f"{work.job.source.name}: {video.width}x{video.height} {video.codec}, {_frames(figures.source_frames)}"
            f" -> {figures.width}x{figures.height}{_anew(figures, options)} by {' and '.join(models_of(options))}"
        )
    if intake.left:
        what = "not looked into" if settings.max_files is None else "left for another run (max_files)"
        more = estimated(intake, sure)
        console.info(f"{len(intake.left)} more files are {what}" + (f": ~{more} frames" if more else ""))
    if settings.dry_run and len(intake.jobs) + len(intake.left) > 1:
        total = sum(sure) + (estimated(intake, sure) or 0)
        result = sum(made) + (estimated(intake, made) or 0)
        size = sum(source.size for source in (*(work.job.source for work in intake.jobs), *intake.left))
        files = len(intake.jobs) + len(intake.left)
        became = f" -> ~{result} frames" if result != total else ""
        console.info(f"In all: {files} files, {readiness.in_bytes(size)}, ~{total} frames{became}")


def _frames(count: int | None) -> str:
    return "an unknown number of frames" if count is None else f"~{count} frames"


def _anew(figures: Estimate, options: Options) -> str:
    """Say how many frames a result has, and how many a second, where these are not the source's."""
    if not options.interpolates and options.cfr is None:
        return ""
    rate = f" at {naming.readable(figures.fps)} fps" if figures.fps else ""
    return f", {_frames(figures.frames)}{rate}"
