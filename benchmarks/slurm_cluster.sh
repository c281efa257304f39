#!/usr/bin/env bash
# A Slurm cluster of two nodes on this machine, without being installed: Debian's packages are unpacked into a folder.
# Runs a sweep there, kills a node in the middle, and says whether every run is there once, with the local pool's bytes.
# Skips, with a reason, where the packages cannot be had. Needs root, and `pip install 'glimpsebench[slurm]'`.
#
# bash benchmarks/slurm_cluster.sh [FOLDER]
set -euo pipefail
skip() { echo "skipped: $*"; exit 0; }
python -c "import submitit" 2> /dev/null || skip "no submitit here; pip install 'glimpsebench[slurm]'"
command -v apt-get > /dev/null || skip "no apt-get here to get Slurm by"
[ "$(id -u)" = 0 ] || skip "slurmd wants to be root"
at=${1:-$(mktemp -d)}
mkdir -p "$at"/{debs,run,log,state,spool1,spool2}
cd "$at"
names="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2"
for name in $names $(ldconfig -p | grep -q libhwloc.so.15 || echo libhwloc15); do
  ls debs/"$name"_*.deb > /dev/null 2>&1 || (cd debs && apt-get download -qq "$name" 2> /dev/null) || skip "no package $name"
done
for deb in debs/*.deb; do dpkg -x "$deb" prefix; done
p=$at/prefix
for program in "$p"/usr/*bin/*-wlm; do ln -sf "$program" "${program%-wlm}"; done # as Debian's alternatives do
export PATH=$p/usr/bin:$p/usr/sbin:$PATH LD_LIBRARY_PATH=$p/usr/lib/x86_64-linux-gnu:$p/usr/lib/x86_64-linux-gnu/slurm-wlm
host=$(hostname -s)
dd if=/dev/urandom of=munge.key bs=1 count=1024 2> /dev/null; chmod 400 munge.key
cat > slurm.conf << CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$at/run/munge.sock
CredType=cred/munge
PluginDir=$p/usr/lib/x86_64-linux-gnu/slurm-wlm
StateSaveLocation=$at/state
SlurmctldPidFile=$at/run/slurmctld.pid
SlurmdPidFile=$at/run/slurmd.%n.pid
SlurmdSpoolDir=$at/spool.%n
SlurmctldLogFile=$at/log/slurmctld.log
SlurmdLogFile=$at/log/slurmd.%n.log
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdTimeout=8
SlurmctldTimeout=8
JobRequeue=1
SchedulerParameters=bf_interval=5
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16819 CPUs=1 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$at/slurm.conf
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; for f in run/*.pid; do [ -f "$f" ] && kill -9 "$(cat "$f")" 2> /dev/null || true; done' EXIT
munged --foreground --force --key-file="$at/munge.key" --socket="$at/run/munge.sock" --pid-file="$at/run/munged.pid" \
  --log-file="$at/log/munged.log" --seed-file="$at/run/munged.seed" & pids+=($!)
sleep 1
slurmctld -D -c 2> "$at/log/ctld.err" & pids+=($!)
node() { slurmd -D -N "$1" -d "$p/usr/sbin/slurmstepd-wlm" 2> "$at/log/$1.err" & pids+=($!); }
node n1; node n2
for _ in $(seq 60); do sinfo -h -o %T 2> /dev/null | grep -q idle && break; sleep 1; done
sinfo || skip "no Slurm could be started: $(tail -n 1 "$at"/log/*.err | tr '\n' ' ')"
cat > suite.toml << SUITE
floors = false
[base]
task = "digits-clutter" # whose judges are shipped
"agent.predictor_steps" = 2
[[matrix]]
agent = ["full", "center", "raster"]
seed = [0, 1]
SUITE
export GLIMPSE_SLURM_LOOK_SECONDS=2
glimpse() { python -m glimpsebench "$@"; }
if [ "${KILL:-1}" = 1 ]; then
  (for _ in $(seq 300); do squeue -h -w n2 -t R 2> /dev/null | grep -q . && break; sleep 1; done
   sleep 4; job=$(squeue -h -w n2 -t R -o %A | head -1); echo "killing node n2 with its job $job"
   step=$(ps -eo pid,args | awk -v job="[$job." '/slurmstepd/ && index($0, job) {print $1}')
   mine=$({ grep -lsz "^SLURM_JOB_ID=$job\$" /proc/[0-9]*/environ || true; } | cut -d/ -f3)
   kill -9 "$(cat "$at/run/slurmd.n2.pid")" $step $mine || true; sleep 30; node n2) &
fi
glimpse sweep suite.toml --root "$at/slurm" --executor slurm --partition all > "$at/log/sweep.txt" || { tail "$at/log/sweep.txt"; exit 1; }
glimpse sweep suite.toml --root "$at/local" --workers 1 > /dev/null
glimpse status suite.toml --root "$at/slurm" | head -1
grep -o "requeue job.*" "$at/log/slurmctld.log" || echo "nothing was queued again"
if diff -rq -x timings.json "$at/slurm/records" "$at/local/records"; then
  echo "all runs are there, with the bytes of the local pool"
else
  echo "NOT as of the local pool"; exit 1
fi
