"""Write the peers' weights by torch.save: `python bench_peers_weights.py ARRAYS.npz FOLDER`, with the peers' Python.

The arrays are named FILE/KEY; `tools/bench_peers.py` makes them. A FILE that ends in .pth gets them below "params", as
Real-ESRGAN's do.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch


def main(arrays: Path, folder: Path) -> None:
    """Write each file beside its place and rename it."""
    files: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    with np.load(arrays) as given:
        for name in given.files:
            file, _, key = name.partition("/")
            files[file][key] = torch.from_numpy(given[name])
    for file, state in files.items():
        beside = folder / f"{file}.new"
        torch.save({"params": state} if file.endswith(".pth") else state, beside)
        beside.replace(folder / file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
