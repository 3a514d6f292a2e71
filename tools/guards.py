"""Take guards out of copies of uprez, and see the tests fail that are there for them: `make guards`.

Ten complaints of docs/reference/complaints.md, chosen by chance, have their guard here. A test that passes without the
guard is too weak, and one that fails with it proves nothing: both end with code 1.

Workers that an e2e test starts on this machine run the repository's own code (they take no PYTHONPATH), so that only
guards of the controller can be tried by such a test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "src" / "uprez"
AT_ONCE = 2
LEAN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Without the plugins that nobody needs here, a test starts in a third of the time."""
PYTEST = ("-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-p", "pytest_timeout")


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Words that stand once in a file of uprez, what is put in their place, and the test that must then fail."""

    path: str
    old: str
    new: str
    test: str


GUARDS: dict[int, Guard] = {
    12: Guard(
        path="media/encode.py",
        old="except (EncodeError, InputError) as error:  # InputError",
        new="except InputError as error:  # InputError",
        test="tests/media/test_encode.py::test_a_rung_that_does_not_work_is_passed_over_and_named",
    ),
    22: Guard(
        path="media/decode.py",
        old='if deinterlace == "off" or not (index.video.interlaced or deinterlace == "on"):',
        new="if True:",
        test="tests/media/test_deinterlace.py::test_combs_are_gone_and_every_frame_is_there",
    ),
    9: Guard(
        path="media/colour.py",
        old="transfer=transfer if _silent(colour.tag_transfer) else colour.tag_transfer,",
        new="transfer=transfer,",
        test="tests/media/test_colour.py::test_hdr_keeps_its_transfer",
    ),
    28: Guard(
        path="media/scenes.py",
        old="return same(left, right) or is_cut(left, right, colour)",
        new="return same(left, right)",
        test="tests/enhance/test_feed.py::test_nothing_is_made_across_a_cut",
    ),
    30: Guard(
        path="enhance/session.py",
        old="_prove(rung, made, how, depth)",
        new="pass",
        test="tests/contracts/test_provider.py::test_warps_to_the_nearest_sample_are_found_out",
    ),
    10: Guard(
        path="media/colour.py",
        old="_MATRICES.get(matrix) or _untagged(primaries, width, height)",
        new='"bt601"',
        test="tests/media/test_colour.py::test_untagged_video_is_decided_by_its_size",
    ),
    17: Guard(
        path="fleet/intake.py",
        old="except (InputError, FetchError) as error:",
        new="except FetchError as error:",
        test="tests/e2e/test_journey.py::test_bad_inputs_fail_alone",
    ),
    32: Guard(
        path="media/verify.py",
        old="if got != self.pins[number].packets:",
        new="if False:",
        test="tests/media/test_verify.py::test_segments_in_another_order_fail",
    ),
    19: Guard(
        path="media/witness.py",
        old="if finding is not None",
        new="if False",
        test="tests/e2e/test_liars.py::test_a_worker_that_never_shows_the_source_fails_its_job",
    ),
    18: Guard(
        path="enhance/pipeline.py",
        old="sink.finish(error)",
        new="sink.finish()",
        test="tests/enhance/test_pipeline.py::test_a_failure_in_any_stage_ends_all_of_them",
    ),
}
"""By complaint, in the order in which chance chose them."""


def taken_out(guard: Guard, folder: Path) -> str:
    """Run a guard's test on a copy of uprez without it, made in `folder`; gives what is wrong, "" when it fails."""
    shutil.copytree(PACKAGE, folder / "src" / "uprez", symlinks=True)
    module = folder / "src" / "uprez" / guard.path
    text = module.read_text()
    if text.count(guard.old) != 1:
        return f"{guard.path} has {text.count(guard.old)} times {guard.old!r}: the guard is elsewhere now"
    module.write_text(text.replace(guard.old, guard.new))
    done = _tested(folder, guard.test)
    if done.returncode == 1 and re.search(r"^FAILED ", done.stdout, re.MULTILINE):
        return ""
    return f"without its guard {guard.test} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-500:]}"


def left_in(guard: Guard, folder: Path) -> str:
    """Run a guard's test on a copy of uprez as it is; gives what is wrong, "" when it passes."""
    shutil.copytree(PACKAGE, folder / "src" / "uprez", symlinks=True)
    done = _tested(folder, guard.test)
    return "" if done.returncode == 0 else f"{guard.test} ended with {done.returncode}\n{done.stdout[-2000:]}"


def row(number: int, guard: Guard) -> str:
    """Write the line that docs/reference/complaints.md has of a guard."""
    name = guard.test.rpartition("::")[2]
    return f"| {number} | `{guard.path}`: `{guard.old}` | `{guard.new}` | `{name}` |"


def _tested(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *PYTEST, "--basetemp", str(folder / "temp"), str(REPO / test)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": search, **LEAN},
        capture_output=True,
        text=True,
        check=False,
    )


def _tried(number: int, guard: Guard) -> str:
    with tempfile.TemporaryDirectory(prefix="uprez-guards-") as folder:
        wrong = left_in(guard, Path(folder, "with")) or taken_out(guard, Path(folder, "without"))
    print(f"{number:3}  {'WEAK  ' if wrong else 'proved'}  {guard.path:24} {guard.test}", flush=True)
    return wrong


def main() -> int:
    """Try every guard and print how each test did."""
    print("  #  test    guard                    passes with its guard and fails without it")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(_tried, GUARDS, GUARDS.values()) if text]
    print(*wrong, f"{len(GUARDS) - len(wrong)} of {len(GUARDS)} guards are proved.", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
