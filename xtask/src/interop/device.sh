#!/bin/bash
# Runs a command that logs in on another device, and approves what it shows: device.sh BROWSER DEVICE-PAGE COMMAND...
browser=$1 page=$2
shift 2
shown=$(mktemp)
trap 'rm -f "$shown"' EXIT
"$@" >"$shown" 2>&1 &
pid=$!
for _ in $(seq 300); do
  code=$(grep -aoE '\b[B-Z]{4}-[B-Z]{4}\b' "$shown" | head -n 1)
  [ -n "$code" ] && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.1
done
[ -n "$code" ] && "$browser" "$page?user_code=$code"
wait $pid
status=$?
cat "$shown" >&2
exit $status
