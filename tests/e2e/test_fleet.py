"""A batch on several rented machines: shared out, survived, paid for, and frame for frame what one would make."""

from __future__ import annotations

import io
import os
import re
import threading
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cloud import Ran
from house import write_clip
from rented import Act, Rented, rented, versioned
from uprez.fleet.ledger import Ledger
from uprez.practice.faults import Armed
from waiting import until

__all__ = ["rented", "versioned"]  # fixtures: pytest finds them by name

LIAR = Path(__file__).parent / "liar"
LONG, SHORT, SEGMENT = 100, 20, 10
"""Frames of the long video, of each short one, and of a segment."""
SHORTS = 6


def put(rented: Rented, *, shorts: int) -> int:
    """Put a video of ten segments and some short ones into the bucket, and here; gives the number of segments."""
    names = {"long": LONG, **{f"short{number}": SHORT for number in range(shorts)}}
    for seed, (name, frames) in enumerate(names.items()):
        path = rented.cloud.house.inputs / f"{name}.mp4"
        write_clip(path, frames, (96, 64), seed)
        rented.cloud.put(f"input/{name}.mp4", path)
    return sum(-(-frames // SEGMENT) for frames in names.values())


def slowly(rented: Rented, times: int) -> None:
    """Let each segment take its time on the way, so that a run lasts long enough for things to happen."""
    rented.cloud.proxy.delay_s = 1.5
    rented.cloud.proxy.fail("PUT", "slow", times=times, key="/segment-")


def strike(rented: Rented, name: str) -> Act:
    """Give the act that lets something happen to a machine that runs, as soon as there is one."""

    def running() -> list[int]:
        return [int(row["id"]) for row in rented.market.rows() if row["actual_status"] == "running"]

    def hit() -> None:
        rented.market.inject(Armed(name=name, instance=max(until(running))))

    return lambda: threading.Thread(target=hit, daemon=True).start()


def pictures(data: bytes) -> list[NDArray[Any]]:
    """Decode every frame as it is stored."""
    with av.open(io.BytesIO(data)) as video:
        return [frame.to_ndarray() for frame in video.decode(video=0)]


def same_as_here(rented: Rented) -> None:
    """Check that every result is, frame for frame and bit for bit, what this machine makes alone."""
    house = rented.cloud.house
    here = rented.run(codec="ffv1", market="local", input_dir=str(house.inputs), output_dir="./output")
    assert here.code == 0, here.text
    made = [key for key in rented.cloud.keys("output/") if key.endswith(".mkv")]
    assert [Path(key).name for key in made] == sorted(path.name for path in house.outputs.glob("*.mkv"))
    for key in made:
        one, other = pictures(rented.cloud.get(key)), pictures((house.outputs / Path(key).name).read_bytes())
        assert len(one) == len(other)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), key


def computed(ran: Ran) -> int:
    """Count the segments that workers made, whatever became of them."""
    return len(re.findall(r"\[LOG\] .*Finished segment \d+ of \d+", ran.text))


def raced(ran: Ran) -> int:
    """Count the segments that were given to a second machine at the end, and may have been made twice."""
    return len(re.findall(r" is (?:raced|taken over): ", ran.text))


def accounted(rented: Rented, ran: Ran) -> Counter[str]:
    """Check that every attempt is accounted for, in numbers, in words and in money; gives the discarded by why."""
    told = rented.results(ran)
    discarded: Counter[str] = Counter()
    for job in told["jobs"]:
        discarded.update(job["segments_discarded"])
    counted = sum(job["segments_computed"] for job in told["jobs"])
    assert computed(ran) <= counted + discarded.total(), ran.text
    lines = re.findall(r"^\[INFO\] \S+, segment \d+: .* are for nothing: .* \((\w+)\)$", ran.text, re.MULTILINE)
    assert Counter(lines) == discarded, ran.text
    for lease in told["leases"]:
        assert sum(Decimal(usd) for usd in lease["use_usd"].values()) == Decimal(lease["cost_usd"])
        assert round(sum(lease["use_s"].values()), 3) == lease["held_s"]
    assert sum(Decimal(usd) for usd in told["use_usd"].values()) == Decimal(told["cost_usd"])
    assert re.search(r"^\[INFO\] Cost: \$\d", ran.text, re.MULTILINE), ran.text
    return discarded


def test_a_long_video_is_made_on_all_machines_at_once(rented: Rented) -> None:
    """Several of three make its segments, none twice but in a race, and every machine is given back at its end."""
    segments = put(rented, shorts=0)
    slowly(rented, 10)
    ran = rented.run(codec="ffv1", segment_frames=SEGMENT, max_machines=3)
    assert ran.code == 0, ran.text
    leases = rented.settled(ran)
    assert len(leases) == 3, ran.text
    assert len({lease["machine"] for lease in leases}) == 3
    shares = Counter(re.findall(r"\[LOG\] \S+ ([0-9a-f]{8}) Finished segment", ran.text))
    assert len(shares) >= 2, ran.text
    assert set(shares) <= {lease["lease"] for lease in leases}
    assert segments <= computed(ran) <= segments + raced(ran), "what is made twice is a race, and is said"
    assert {lease["reason"] for lease in leases} == {"the work is done"}
    assert set(accounted(rented, ran)) <= {"raced"}
    same_as_here(rented)


def test_a_batch_survives_its_machines(rented: Rented) -> None:
    """One dies in mid-segment, one is outbid, one makes black frames, one never boots; the rest does all the work."""
    segments = put(rented, shorts=SHORTS)
    slowly(rented, 40)
    image = rented.machines._image
    told = {"UPREZ_LIE": "black", "UPREZ_LIE_ONCE": str(rented.cloud.house.top / "told")}
    rented.machines._image = {**image, **told, "PYTHONPATH": os.pathsep.join((str(LIAR), image["PYTHONPATH"]))}
    rented.arm("boot_forever")()
    on = tuple((r"Segment \d+ of 10 of long.mp4 counts", strike(rented, name)) for name in ("exited", "outbid"))
    ran = rented.run(
        codec="ffv1",
        segment_frames=SEGMENT,
        max_machines=3,
        type="bid",
        budget="1",
        on=on,
    )
    assert ran.code == 0, ran.text
    leases = rented.settled(ran)
    reasons = " | ".join(str(lease["reason"]) for lease in leases)
    for words in ("no worker", "container ended", "outbid", "black|shows|look"):
        assert re.search(words, reasons), f"{words}: {reasons}\n{ran.text}"
    assert sum((Decimal(str(lease["cost_usd"])) for lease in leases), Decimal(0)) <= Decimal(1)
    kept = [key.rpartition(".")[2] for key in rented.cloud.keys(".uprez/jobs/") if "/evidence/" in key]
    assert {"json", "png"} <= set(kept), "why the black ones do not count is kept"
    with closing(Ledger(rented.cloud.house.top / "state" / "ledger.sqlite")) as ledger:
        banned = [ban for ban in ledger.bans() if ban.until > ban.banned_at]
    assert [str(ban.evidence).rpartition(".")[2] for ban in banned] == ["json"], "the liar alone, with its evidence"
    assert segments <= computed(ran), ran.text
    assert "refused" in accounted(rented, ran), ran.text
    same_as_here(rented)


def test_no_more_machines_than_there_is_work(rented: Rented) -> None:
    """A video of two segments needs two at most, whatever is allowed."""
    path = rented.cloud.house.inputs / "clip.mp4"
    write_clip(path, 2 * SEGMENT, (96, 64), 0)
    rented.cloud.put("input/clip.mp4", path)
    ran = rented.run(segment_frames=SEGMENT, max_machines=5)
    assert ran.code == 0, ran.text
    assert len(rented.settled(ran)) <= 2, ran.text
