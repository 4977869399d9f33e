#!/bin/sh
# A stand-in for Slurm's commands, called as sbatch, squeue, scancel or scontrol, for tests of the network: it starts workers in another
# network namespace (WORKERS_IN) or through a relay (RELAY=HOST:PORT), which a real cluster on one machine cannot do.
# JOBS is its directory.
case $(basename "$0") in
sbatch)
  script=$JOBS/script
  cat >"$script"
  n=$(sed -n 's/^#SBATCH --array=1-//p' "$script")
  if [ -n "${RELAY:-}" ]; then
    # The worker reads a connection file of its own, in which the relay is the master's address.
    file=$(sed -n "s/.*--connect '\([^']*\)'.*/\1/p" "$script")
    sed "s#tcp://[0-9.]*:[0-9]*#tcp://$RELAY#" "$file" >"$JOBS/connect.json"
    sed -n 's#.*tcp://\([0-9.]*\):\([0-9]*\).*#\2#p' "$file" | head -n 1 >"$JOBS/port"
    chmod 600 "$JOBS/connect.json"
    sed -i "s#--connect '[^']*'#--connect '$JOBS/connect.json'#" "$script"
  fi
  for i in $(seq "$n"); do
    enter=${WORKERS_IN:+ip netns exec $WORKERS_IN}
    SLURM_ARRAY_JOB_ID=1000 SLURM_ARRAY_TASK_ID=$i setsid $enter sh "$script" >"$JOBS/log.$i" 2>&1 </dev/null &
    echo $! >"$JOBS/pid.$i"
  done
  echo 1000
  ;;
squeue)
  for file in "$JOBS"/pid.*; do
    [ -e "$file" ] || continue
    state=COMPLETED
    kill -0 "$(cat "$file")" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$(cat "$file")/status" && state=RUNNING
    echo "1000_${file##*.}|$state|None"
  done
  ;;
scancel)
  for file in "$JOBS"/pid.*; do kill "$(cat "$file")" 2>/dev/null; done
  exit 0
  ;;
esac
