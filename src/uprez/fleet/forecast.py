"""Say what a run is about to make, before anything is rented."""

from __future__ import annotations

from uprez.config.settings import Settings
from uprez.fleet import estimate, readiness
from uprez.fleet.intake import Intake, estimated
from uprez.report.console import Console


def tell(intake: Intake, settings: Settings, console: Console) -> None:
    """Give each job in figures, and of a dry run the sum."""
    sure = []
    for work in intake.jobs:
        video, options = work.video, work.job.options
        figures = estimate.estimate(video, options)
        sure.append(figures.frames or 0)
        frames = "an unknown number of" if figures.frames is None else f"~{figures.frames}"
        console.info(
            f"{work.job.source.name}: {video.width}x{video.height} {video.codec}, {frames} frames"
            f" -> {figures.width}x{figures.height} by {options.model}"
        )
    if intake.left:
        what = "not looked into" if settings.max_files is None else "left for another run (max_files)"
        more = estimated(intake, sure)
        console.info(f"{len(intake.left)} more files are {what}" + (f": ~{more} frames" if more else ""))
    if settings.dry_run and len(intake.jobs) + len(intake.left) > 1:
        total = sum(sure) + (estimated(intake, sure) or 0)
        size = sum(source.size for source in (*(work.job.source for work in intake.jobs), *intake.left))
        files = len(intake.jobs) + len(intake.left)
        console.info(f"In all: {files} files, {readiness.in_bytes(size)}, ~{total} frames")
