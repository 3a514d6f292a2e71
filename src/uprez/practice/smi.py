"""The `nvidia-smi` of a rented instance: a shell script that answers for the GPU of the offer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from uprez.practice.offers import Offer


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What the script says of each GPU."""

    name: str
    count: int
    memory_mib: int
    used_mib: int
    driver: str
    cuda: float
    compute_cap: float


def gpu(offer: Offer, *, wrong: bool = False, taken: bool = False) -> Gpu:
    """Give the GPU of an offer; or another one than was promised, or one whose memory somebody else holds."""
    card = offer.card
    name = offer.gpu_name if offer.gpu_name[0] in "AHL" else f"GeForce {offer.gpu_name}"
    true = Gpu(
        name=f"NVIDIA {name.replace('GeForce RTX A', 'RTX A')}",
        count=offer.num_gpus,
        memory_mib=card.ram_mib,
        used_mib=1,
        driver=offer.driver,
        cuda=offer.cuda,
        compute_cap=card.compute_cap / 100,
    )
    if wrong:
        return replace(true, name="NVIDIA GeForce GTX 1650", memory_mib=4096, compute_cap=7.5)
    return replace(true, used_mib=card.ram_mib - 400) if taken else true


def script(shown: Gpu) -> str:
    """Write the script: the plain table, `-L`, and `--query-gpu` or `--query-compute-apps` as CSV."""
    facts = {
        "NAME": shown.name,
        "COUNT": shown.count,
        "TOTAL": shown.memory_mib,
        "USED": shown.used_mib,
        "FREE": shown.memory_mib - shown.used_mib,
        "DRIVER": shown.driver,
        "CUDA": shown.cuda,
        "CAP": shown.compute_cap,
    }
    head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in facts.items())
    return f"#!/bin/sh\n# The practice market's nvidia-smi: it answers for the GPU that was rented.\n{head}{_BODY}"


_BODY = r"""
UUID=GPU-5eed0000-0000-4000-8000-00000000000
query= apps= list= id= header=1 units=1
while [ $# -gt 0 ]; do
  case $1 in
    --query-gpu=*) query=${1#*=} ;;
    --query-compute-apps=*) apps=${1#*=} ;;
    --format=*)
      case ,${1#*=}, in *,noheader,*) header= ;; esac
      case ,${1#*=}, in *,nounits,*) units= ;; esac ;;
    --id=*) id=${1#*=} ;;
    -i) id=$2; shift ;;
    -L|--list-gpus) list=1 ;;
    *) echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."; exit 1 ;;
  esac
  shift
done
set_value() {
  unit=
  case $1 in
    name|gpu_name) value=$NAME ;;
    index) value=$gpu ;;
    count) value=$COUNT ;;
    uuid|gpu_uuid) value=$UUID$gpu ;;
    driver_version) value=$DRIVER ;;
    compute_cap) value=$CAP ;;
    memory.total) value=$TOTAL unit=MiB ;;
    memory.used) value=$USED unit=MiB ;;
    memory.free) value=$FREE unit=MiB ;;
    utilization.gpu|utilization.memory) value=0 unit=% ;;
    temperature.gpu) value=41 ;;
    power.draw) value=30.00 unit=W ;;
    power.limit) value=350.00 unit=W ;;
    pstate) value=P8 ;;
    *) echo "Field \"$1\" is not a valid field to query."; exit 2 ;;
  esac
}
answer() { # what: heads or values
  line=
  for field in $(echo "$query" | tr ',' ' '); do
    set_value "$field"
    if [ "$1" = heads ]; then
      value=$field
      [ -z "$units" ] || [ -z "$unit" ] || value="$value [$unit]"
    elif [ -n "$units" ] && [ -n "$unit" ]; then
      value="$value $unit"
    fi
    line="$line${line:+, }$value"
  done
  echo "$line"
}
gpu=0
if [ -n "$apps" ]; then
  [ -z "$header" ] || echo "pid, used_gpu_memory [MiB]"
  [ "$USED" -lt 400 ] || echo "4242, $USED${units:+ MiB}"
elif [ -n "$query" ]; then
  heads=$(answer heads) || { echo "$heads"; exit 2; }
  [ -z "$header" ] || echo "$heads"
  while [ $gpu -lt "$COUNT" ]; do
    [ -n "$id" ] && [ "$id" != $gpu ] || answer values
    gpu=$((gpu + 1))
  done
elif [ -n "$list" ]; then
  while [ $gpu -lt "$COUNT" ]; do
    echo "GPU $gpu: $NAME (UUID: $UUID$gpu)"
    gpu=$((gpu + 1))
  done
else
  bar=+-----------------------------------------------------------------------------------------+
  echo "$bar"
  printf '| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n' "$DRIVER" "$DRIVER" "$CUDA"
  echo "$bar"
  while [ $gpu -lt "$COUNT" ]; do
    printf '| %3d  %-32s Off |   00000000:0%d:00.0 Off |                  N/A |\n' $gpu "$NAME" $gpu
    printf '| 30%%   41C    P8             30W /  350W |%8dMiB / %6dMiB |      0%%      Default |\n' "$USED" "$TOTAL"
    gpu=$((gpu + 1))
  done
  echo "$bar"
fi
"""
