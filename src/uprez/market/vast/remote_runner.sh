# What a rented machine runs first, as `/bin/bash -c TEXT`: the market takes 4,000 characters, so comments stay at home.
#
# This shell is the dead-man and does nothing else: it waits for the deadline, for the end of all work, and then destroys
# its own instance. Everything that can fail runs in a background shell: Python, the sheet, the wheel, the worker.
# Times are seconds since 1970 by this machine's own clock, kept in files: a container that is started again has no more
# time than before. Only the worker moves `deadline`, and never past `hard`. A clock that is set back must not lengthen
# that: the uptime, which nobody sets, bounds both since this start.
trap '' HUP INT TERM
umask 077
export PYTHONUNBUFFERED=1
P=${UPREZ_POLL_S:-5} D=${HOME:-/root}/uprez
say() {
  local t=${EPOCHREALTIME:-$(date +%s)000000}
  echo "uprez-boot $UPREZ_LEASE ${t/[.,]/} $*"
}
now() {
  printf -v N '%(%s)T' -1
  read -r U _ </proc/uptime
  U=${U%.*}
}
# Read a whole number from a file into a variable; anything else leaves it as it is.
num() {
  local x
  { read -r x <"$1"; } 2>/dev/null
  x=${x%%.*}
  [[ $x =~ ^[1-9][0-9]{0,11}$ ]] && printf -v "$2" %s "$x"
}
now
T=$((N + ${UPREZ_LIFE_S:-1800})) H=$((N + ${UPREZ_HARD_S:-86400})) A=
mkdir -p "$D"
cd "$D" || say "ERROR: no folder $D"
num hard H || echo $H >hard
num deadline T || echo $T >deadline
say "this machine ends itself within $((T - N)) s unless its lease is renewed"
F=$T L=$((U + ${UPREZ_LIFE_S:-1800})) M=$((U + ${UPREZ_HARD_S:-86400}))

# One try to destroy this instance. The key comes by standard input or environment: command lines are for all to see.
give() {
  local k=$CONTAINER_API_KEY u=${VAST_URL%/}/api/v0/instances/$CONTAINER_ID/ p a
  [ "$k" ] || { read -r k </root/.vast_api_key; } 2>/dev/null
  [ "$k" ] || a='impossible, there is no CONTAINER_API_KEY'
  p=$(command -v python3 || command -v python)
  if [ "$a" ]; then :
  elif command -v curl >/dev/null; then
    a=$(echo "header=\"Authorization: Bearer $k\"" |
      curl -sSK - -m 30 -o /dev/null -w '%{http_code}' -X DELETE "$u" 2>&1)
  elif [ "$p" ]; then
    a=$(K=$k U=$u "$p" -c 'import os,urllib.request as r
e=os.environ
try:print(r.urlopen(r.Request(e["U"],headers={"Authorization":"Bearer "+e["K"]},method="DELETE"),timeout=30).status)
except Exception as x:print(getattr(x,"code",x))' 2>&1)
  else a='impossible, there is neither curl nor Python'
  fi
  [ "$a" = "$A" ] || say "DELETE of this instance: $a"
  A=$a
}

# Without Python, curl tells the controller why this machine leaves.
lost() {
  say "ERROR: $1"
  local u=$(curl -fsm 60 "$UPREZ_BOOT_URL" | sed -n 's/.*"status_url": *"\([^"]*\)".*/\1/p')
  [ "$u" ] && echo '{"schema":4,"lease":"'$UPREZ_LEASE'","beat":0,"phase":"left","reason":"'$1'"}' |
    curl -fsm 60 -X PUT -H Content-Type: --data-binary @- "$u"
}

boot() {
  local p
  for p in python3 python3.{14..11} python ''; do
    "$p" -c 'import sys,venv;sys.exit(sys.version_info<(3,11))' 2>/dev/null && break
  done
  [ "$p" ] || { lost 'no Python 3.11 or later in this image'; return; }
  # Reads the sheet, fetches the wheel, checks it, and hands over to what it holds: that installs the rest.
  "$p" -c 'import hashlib,json,os,sys,time,urllib.request as r
e=os.environ
s={}
def die(t):
 print("uprez-boot",e["UPREZ_LEASE"],time.time_ns()//1000,"ERROR:",t)
 if s:
  b={"schema":4,"lease":e["UPREZ_LEASE"],"beat":0,"phase":"left","reason":t}
  try:r.urlopen(r.Request(s["status_url"],json.dumps(b).encode(),method="PUT"),timeout=60)
  except Exception:pass
 sys.exit(1)
def get(u,n):
 for w in 1,3,9,27,30,0:
  try:return r.urlopen(u,timeout=60).read()
  except Exception as x:
   c=getattr(x,"code",0)
   if 399<c<429 and w>3 or not w:die("cannot fetch %s: %s %s"%(n,type(x).__name__,c or getattr(x,"reason","")))
  time.sleep(w)
b=get(e["UPREZ_BOOT_URL"],"the sheet")
s=json.loads(b)
i=s["install"]or die("the sheet names no wheel")
for f,n in(i["constraints"],"pins.txt"),(i["wheel"],os.path.basename(i["wheel_name"])):
 if f:
  b=get(f["url"],n)
  if hashlib.sha256(b).hexdigest()!=f["sha256"]:die(n+" is not what was promised")
  open(n,"wb").write(b)
os.execve(sys.executable,[sys.executable,"-Pm","uprez.market.preflight"],{**e,"PYTHONPATH":":".join(filter(None,(os.path.abspath(n),e.get("PYTHONPATH"))))})' &&
    # TensorRT-RTX opens its own library by its bare name, and the loader reads its path when a process starts.
    env -u CONTAINER_API_KEY UPREZ_STATE_DIR="$D" UPREZ_MACHINE_FILE="$D/machine.json" \
      UPREZ_DEADLINE_EPOCH_FILE="$D/deadline" \
      LD_LIBRARY_PATH="$(echo "$D"/venv/lib/*/site-packages/onnxruntime_ep_nv_tensorrt_rtx)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
      venv/bin/python -Pm uprez work
  say "the work ended with $?"
}

boot </dev/null 2>&1 &
B=$! E=
while :; do
  now
  num deadline T
  kill -0 $B 2>/dev/null || E=${E:-$N}
  ((N >= T || N >= H || U >= M || T == F && U >= L)) && { say 'the time of this machine is over'; break; }
  [ "$E" ] && ((N >= E + ${UPREZ_LINGER_S:-60})) && break
  sleep "$P"
done
say 'giving this machine back'
while :; do
  give
  sleep "$P"
  sleep "$P"
done
