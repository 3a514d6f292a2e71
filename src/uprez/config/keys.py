"""The settings uprez knows: one literal row each, with all that the layers, the flags, the docs and the tests use.

Importing this module is cheap: help texts are made from it.
"""

from __future__ import annotations

from uprez.config import kinds
from uprez.config.key import Key
from uprez.config.kinds import choice, number, whole

_MONEY = number("0", "999999", "US dollars, such as 0.35", unit="USD")
_AMOUNT = number("0", "999999999", "a number without a unit, such as 12")
_PRESET_NAME = kinds.NAME
_SECONDS = number("0", "999999999", "seconds, such as 1.5")
TIMES = (
    "boot_s",
    "lease_s",
    "grace_s",
    "watch_s",
    "status_s",
    "poll_s",
    "log_s",
    "silence_s",
    "stall_s",
    "hard_life_s",
)

KEYS: dict[str, Key] = {
    # What to do, and where.
    "input": Key(kind=kinds.PLACE, field="input", help="One video instead: a path, an object of the bucket, a URL."),
    "output_dir": Key(
        kind=kinds.PLACE, field="output_dir", help="Where results go (default ./output, or output/ in the bucket)."
    ),
    "name": Key(kind=kinds.FILE_NAME, field="name", help="Name of the only output."),
    "recursive": Key(kind=kinds.SWITCH, field="recursive", help="Search subfolders too (default: yes)."),
    "market": Key(
        kind=choice("auto", "local", "vast"), field="market", help="auto, local or vast: where the work is done."
    ),
    "budget": Key(kind=_MONEY, field="budget_usd", remote="falls", help="US dollars at most for a run (default 5)."),
    "on_budget": Key(
        kind=choice("finish", "stop"),
        field="on_budget",
        help="Out of money: finish what fits (default), or stop at once.",
    ),
    "max_machines": Key(
        kind=whole(1, 1000, "at least 1"),
        field="max_machines",
        remote="falls",
        help="Rented machines at once (default 1).",
    ),
    "max_runtime": Key(
        kind=kinds.LENGTH, field="max_runtime_s", help="Longest life of a lease: seconds, h:mm:ss or 2h30m."
    ),
    "deadline": Key(
        kind=kinds.LENGTH,
        field="deadline_s",
        help="When the batch should be done, from its start: seconds, h:mm:ss or 2h30m.",
    ),
    "segment_frames": Key(
        kind=whole(1, 10**8, "at least 1"), field="segment_frames", help="Frames a segment, the unit of checkpoint."
    ),
    "start": Key(kind=kinds.TIME, field="options.start", help="Begin here: seconds, h:mm:ss or 2h30m."),
    "duration": Key(kind=kinds.LENGTH, field="options.duration", help="Process this much of the video."),
    "memory": Key(
        kind=kinds.SIZE,
        field="memory_bytes",
        remote="falls",
        help="Main memory that work here may use (default: most).",
    ),
    "state_prefix": Key(kind=kinds.PREFIX, field="state_prefix", help="Name of uprez's own folder beside the results."),
    "webhook_url": Key(
        kind=kinds.WEBHOOK,
        field="webhook",
        env="WEBHOOK_URL",
        secret=True,
        preset=False,
        help="Where to report jobs and the batch.",
    ),
    "config_url": Key(kind=kinds.URL, preset=False, help="A remote config, fetched at every run."),
    "config_optional": Key(kind=kinds.SWITCH, preset=False, help="Go on when the remote config cannot be fetched."),
    # The picture.
    "video.input_dir": Key(
        kind=kinds.PLACE, field="input_dir", remote="prefix", help="Where to search for videos (default input)."
    ),
    "video.mode": Key(
        kind=choice("upscale", "interp", "both"),
        field="options.mode",
        remote="free",
        help="upscale, interp (more frames), or both.",
    ),
    "video.scale": Key(
        kind=kinds.SCALE, field="options.scale", remote="free", help="Output side over input side, 1 to 4 (default 2)."
    ),
    "video.factor": Key(
        kind=kinds.FACTOR,
        field="options.factor",
        remote="free",
        help="So many times the frames (default 2).",
    ),
    "video.target_fps": Key(
        kind=kinds.RATE,
        field="options.target_fps",
        remote="free",
        help="Or frames a second of the result, exactly.",
    ),
    "video.model": Key(kind=kinds.NAME, field="options.model", remote="free", help="See: uprez models list."),
    "video.codec": Key(
        kind=choice("auto", *kinds.CODECS),
        field="options.codec",
        remote="free",
        help="auto, h264, hevc, av1, prores or ffv1 (lossless).",
    ),
    "video.crf": Key(
        kind=whole(0, kinds.WORST_QUALITY, "0 (best) to 51, for av1 1 to 63; 18 to 24 is usual"),
        field="options.crf",
        remote="free",
        help="Constant quality of the codec; lower is better.",
    ),
    "video.encoder_preset": Key(
        kind=kinds.NAME,
        field="options.encoder_preset",
        remote="free",
        help="The encoder's speed (slow, p5, 6), or ProRes' profile (hq).",
    ),
    "video.pix_fmt": Key(
        kind=choice("auto", *kinds.PIX_FMTS, metavar="FORMAT"),
        field="options.pix_fmt",
        remote="free",
        help="How results are stored, such as yuv420p10le.",
    ),
    "video.deinterlace": Key(
        kind=choice("auto", "on", "off"),
        field="options.deinterlace",
        remote="free",
        help="Make whole pictures of interlaced ones: auto, on or off.",
    ),
    "video.cfr": Key(
        kind=kinds.RATE,
        field="options.cfr",
        remote="free",
        help="Constant frames a second: some repeated or left out.",
    ),
    "video.container": Key(
        kind=choice("auto", *kinds.CONTAINERS),
        field="options.container",
        remote="free",
        help="auto, mp4, mkv or mov.",
    ),
    "video.drop_unsupported": Key(
        kind=kinds.SWITCH,
        field="options.drop_unsupported",
        remote="free",
        help="Leave out what the container cannot carry.",
    ),
    "video.precision": Key(
        kind=choice("auto", "f32", "f16"),
        field="options.precision",
        remote="free",
        help="How models compute (auto: f16 on GPUs, f32 on CPUs).",
    ),
    "video.overwrite": Key(
        kind=kinds.SWITCH, field="overwrite", remote="free", help="Replace a foreign file that has the output's name."
    ),
    "video.strategy": Key(
        kind=choice("interp-then-upscale", "upscale-then-interp", metavar="ORDER"),
        field="options.strategy",
        remote="free",
        help="interp-then-upscale (default) or upscale-then-interp.",
    ),
    # Which of the videos.
    "batch.input_dir": Key(
        kind=kinds.PLACE, field="input_dir", remote="prefix", flag=False, help="The same as video.input_dir, below it."
    ),
    "batch.preset": Key(kind=_PRESET_NAME, remote="free", preset=False, flag=False, help="The preset to work by."),
    "batch.skip_existing": Key(
        kind=kinds.SWITCH, field="skip_existing", remote="free", help="Leave finished work alone (default: yes)."
    ),
    "batch.max_files": Key(
        kind=whole(1, 10**8, "at least 1"), field="max_files", remote="free", help="Videos to process in this run."
    ),
    "batch.dry_run": Key(
        kind=kinds.SWITCH, field="dry_run", remote="free", help="Show what would be done; write nothing."
    ),
    "batch.use_force_sync_onstart": Key(
        kind=kinds.TEXT,
        remote="free",
        flag=False,
        retired="every machine now fetches its own work when it starts; remove the line",
        help="The old system's copying of scripts to a machine.",
    ),
    # The bucket.
    "b2.bucket": Key(kind=kinds.BUCKET, field="bucket", env="B2_BUCKET", preset=False, help="The bucket."),
    "b2.endpoint": Key(
        kind=kinds.ENDPOINT,
        field="access",
        env="B2_ENDPOINT",
        also=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        preset=False,
        help="The bucket's S3 endpoint.",
    ),
    "b2.region": Key(
        kind=kinds.NAME,
        field="access",
        env="B2_REGION",
        also=("AWS_REGION", "AWS_DEFAULT_REGION"),
        preset=False,
        help="Its region (default: from the endpoint).",
    ),
    "b2.key": Key(
        kind=kinds.SECRET,
        field="access",
        env="B2_KEY",
        also=("AWS_ACCESS_KEY_ID",),
        secret=True,
        env_only=True,
        preset=False,
        flag=False,
        help="The application key's id.",
    ),
    "b2.secret": Key(
        kind=kinds.SECRET,
        field="access",
        env="B2_SECRET",
        also=("AWS_SECRET_ACCESS_KEY",),
        secret=True,
        env_only=True,
        preset=False,
        flag=False,
        help="The application key itself.",
    ),
    "b2.token": Key(
        kind=kinds.SECRET,
        field="access",
        also=("AWS_SESSION_TOKEN",),
        secret=True,
        env_only=True,
        preset=False,
        flag=False,
        help="The session token of temporary credentials.",
    ),
    # What may be rented.
    "vast.api_key": Key(
        kind=kinds.SECRET,
        field="vast_api_key",
        env="VAST_API_KEY",
        secret=True,
        env_only=True,
        preset=False,
        flag=False,
        help="The Vast.ai key.",
    ),
    "vast.url": Key(
        kind=kinds.API,
        field="vast_url",
        env="VAST_URL",
        old_env="VAST_API_BASE",
        env_only=True,
        preset=False,
        flag=False,
        help="Where Vast.ai is: another address for a practice market.",
    ),
    "vast.preset": Key(
        kind=_PRESET_NAME, preset=False, flag=False, help="The preset to work by, where batch.preset names none."
    ),
    "vast.type": Key(
        kind=choice("on-demand", "bid"),
        field="rental.bid",
        remote="free",
        help="on-demand, or bid: cheaper, and may be taken away.",
    ),
    "vast.rank": Key(
        kind=choice("cheapest", "value"),
        field="rental.rank",
        remote="free",
        help="cheapest an hour (default), or value: cheapest a picture.",
    ),
    "vast.max_price": Key(
        kind=_MONEY, field="rental.max_usd_per_hour", remote="falls", help="US dollars an hour at most."
    ),
    "vast.min_price": Key(
        kind=_MONEY, field="rental.min_usd_per_hour", remote="rises", help="US dollars an hour at least."
    ),
    "vast.min_vram": Key(kind=_AMOUNT, field="rental.min_vram_gb", remote="rises", help="GB of GPU memory at least."),
    "vast.min_reliability": Key(
        kind=kinds.SHARE, field="rental.min_reliability", remote="rises", help="The host's, 0 to 1."
    ),
    "vast.min_dlperf": Key(
        kind=_AMOUNT, field="rental.min_dlperf", remote="rises", help="Vast.ai's DLPerf score at least."
    ),
    "vast.min_dlperf_per_dphtotal": Key(
        kind=_AMOUNT,
        field="rental.min_dlperf_per_usd",
        remote="rises",
        help="DLPerf at least per dollar an hour.",
    ),
    "vast.min_cuda": Key(
        kind=number("0", "99", "a CUDA version, such as 12.4"),
        field="rental.min_cuda",
        remote="rises",
        help="CUDA that the driver supports at least.",
    ),
    "vast.compute_cap": Key(
        kind=kinds.COMPUTE_CAP,
        field="rental.compute_cap",
        remote="rises",
        help="Compute capability at least: 8.6 or 860.",
    ),
    "vast.min_inet_down": Key(
        kind=_AMOUNT, field="rental.min_inet_down_mbps", remote="rises", help="Mbit/s down at least."
    ),
    "vast.min_inet_up": Key(kind=_AMOUNT, field="rental.min_inet_up_mbps", remote="rises", help="Mbit/s up at least."),
    "vast.min_cpu_cores": Key(
        kind=_AMOUNT, field="rental.min_cpu_cores", remote="rises", help="CPU cores of ours at least."
    ),
    "vast.min_cpu_ram": Key(kind=_AMOUNT, field="rental.min_cpu_ram_gb", remote="rises", help="GB of memory at least."),
    "vast.min_disk_bw": Key(
        kind=_AMOUNT, field="rental.min_disk_bw_mbps", remote="rises", help="MB/s of the disk at least."
    ),
    "vast.min_gpu_mem_bw": Key(
        kind=_AMOUNT,
        field="rental.min_gpu_mem_bw_gbps",
        remote="rises",
        help="GB/s of the GPU's memory at least.",
    ),
    "vast.min_pcie_gen": Key(
        kind=_AMOUNT, field="rental.min_pcie_gen", remote="rises", help="PCIe generation at least."
    ),
    "vast.gpu_models": Key(
        kind=kinds.GPUS, field="rental.gpu_models", remote="narrows", help="Only these GPUs (RTX_4090)."
    ),
    "vast.gpu_whitelist": Key(
        kind=kinds.GPUS,
        field="rental.gpu_models",
        remote="narrows",
        help="Only these, added to the above.",
    ),
    "vast.gpu_required": Key(kind=kinds.GPUS, field="rental.gpu_models", remote="narrows", help="The same again."),
    "vast.gpu_blacklist": Key(
        kind=kinds.GPUS,
        field="rental.gpu_blacklist",
        remote="grows",
        help="Never these GPUs, whatever the lists above say.",
    ),
    "vast.gpu_priority": Key(
        kind=kinds.GPUS,
        field="rental.gpu_priority",
        remote="free",
        help="These first, within the limits.",
    ),
    "vast.host_whitelist": Key(
        kind=kinds.IDS, field="rental.host_whitelist", remote="narrows", help="Only these hosts (ids)."
    ),
    "vast.host_blacklist": Key(
        kind=kinds.IDS, field="rental.host_blacklist", remote="grows", help="Never these hosts (ids)."
    ),
    "vast.datacenter": Key(kind=kinds.SWITCH, field="rental.datacenter", remote="true", help="Only data centres."),
    "vast.verified": Key(kind=kinds.SWITCH, field="rental.verified", remote="true", help="Only verified hosts."),
    "vast.static_ip": Key(
        kind=kinds.SWITCH,
        field="rental.static_ip",
        remote="true",
        help="Only hosts with a fixed address.",
    ),
    "vast.allocated_storage": Key(
        kind=whole(1, 100_000, "GB, such as 40"),
        field="rental.disk_gb",
        help="GB of disk to rent (default: as needed).",
    ),
    "vast.wait": Key(kind=kinds.SWITCH, field="rental.wait", help="Stay until the work is done (default: yes)."),
    "vast.download": Key(
        kind=kinds.FOLDER_OR_SWITCH,
        field="download",
        help="A folder to bring results to from the bucket (true: ./output).",
    ),
    # What a rented machine starts.
    "image": Key(kind=kinds.TEXT, field="image", preset=False, help="The container's image."),
    "git_repo": Key(kind=kinds.TEXT, field="git_repo", preset=False, help="Start from this repository's code."),
    "repo_url": Key(kind=kinds.TEXT, field="git_repo", preset=False, help="The same as git_repo, below it."),
    "git_branch": Key(kind=kinds.NAME, field="git_branch", preset=False, help="And from this branch of it."),
    # From the old system.
    "advanced.lowres_strategy": Key(kind=kinds.NAME, not_yet=True, help="What to do with very small videos."),
    "advanced.prefer": Key(
        kind=kinds.TEXT,
        flag=False,
        retired="video.mode and video.model say what is done; remove the line",
        help="The old system's choice between two upscalers.",
    ),
    "advanced.strict": Key(
        kind=kinds.TEXT,
        flag=False,
        retired="uprez always stops where it cannot do exactly what was asked; remove the line",
        help="The old system's switch against silent fallbacks.",
    ),
    # Lengths of waiting, for defaults.yaml and for whoever must wait longer. The same ten for each.
    **{
        f"{section}.{time}": Key(kind=_SECONDS, field=field, flag=False, help=f"{what}: {time}.")
        for section, field, what in (
            ("local", "local", "Timing of the local market, objects in a folder"),
            ("local_bucket", "bucket_timing", "Timing of the local market, objects in a bucket"),
            ("rented", "rented", "Timing of rented machines"),
        )
        for time in TIMES
    },
}

RIVALS = {"video.target_fps": "video.factor", "video.factor": "video.target_fps"}
"""Two ways to say one thing: the one in the higher layer is meant."""
SECTIONS = frozenset(name.partition(".")[0] for name in KEYS if "." in name)
NOT_YET = tuple(name for name, key in KEYS.items() if key.not_yet)
"""Keys that are read and checked, and not acted on by this version. A test keeps the list exact."""
FLAGS: dict[str, str] = {name.rpartition(".")[2]: name for name, key in KEYS.items() if key.flag}
"""The key that each flag sets, by the flag's name as Python writes it (`min_vram`: --min-vram)."""


def flag_of(name: str) -> str:
    """Give a key's flag: `vast.min_vram` is --min-vram."""
    return "--" + name.rpartition(".")[2].replace("_", "-")
