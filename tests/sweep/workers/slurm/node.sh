#!/bin/bash
# One real SLURM node for the tests: node.sh DIR up|down. Root, loopback only, no systemd, no cgroups, four pretended GPUs,
# two partitions of which "urgent" preempts "idle". Needs Debian's slurm-wlm and munge; everything lives in DIR.
set -eu
dir=$(realpath -m "$1")
export SLURM_CONF=$dir/slurm.conf
host=$(hostname -s)

down() {
    # Jobs end before the daemons do, or their steps would be left behind.
    timeout 5 scancel --user=root 2>/dev/null || true
    for _ in $(seq 80); do
        [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
        sleep 0.2
    done
    for daemon in slurmd slurmctld munged; do
        [ -f "$dir/$daemon.pid" ] && kill "$(cat "$dir/$daemon.pid")" 2>/dev/null || true
    done
}

configure() {
    mkdir -p "$dir"/{state,spool,log,bin,munge}
    chmod 755 "$dir"
    chmod 755 "$dir/munge" # the socket must be reachable; the key is not readable
    # SLURM takes character devices for GPUs only; these are /dev/null four times.
    for i in 0 1 2 3; do [ -c "$dir/gpu$i" ] || mknod "$dir/gpu$i" c 1 3; done
    echo "NodeName=$host Name=gpu Type=pretended File=$dir/gpu[0-3]" >"$dir/gres.conf"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthInfo=cred_expire=5,socket=$dir/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmctldPort=${SLURM_TEST_PORT:-16817}
SlurmdPort=$((${SLURM_TEST_PORT:-16817} + 1))
ProctrackType=proctrack/linuxproc
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=3
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=4000 Gres=gpu:pretended:4
PartitionName=idle Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
CONF
    # There is no accounting here, and submitit asks sacct: answer from the queue.
    cat >"$dir/bin/sacct" <<'SHIM'
#!/bin/bash
jobs=()
while [ $# -gt 0 ]; do
    case $1 in -j) jobs+=("$2"); shift ;; esac
    shift
done
[ ${#jobs[@]} -gt 0 ] || exit 1
echo "JobID|State|NodeList"
for job in "${jobs[@]}"; do squeue --noheader --array --states=all --jobs="$job" --format="%i|%T|%N"; done
SHIM
    chmod +x "$dir/bin/sacct"
}

up() {
    configure
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
    munged --socket="$dir/munge/socket" --key-file="$dir/munge/key" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    slurmctld
    slurmd
    for _ in $(seq 100); do
        sinfo --noheader --format=%T 2>/dev/null | grep -q idle && return
        sleep 0.1
    done
    echo "the node did not become idle" >&2
    tail -5 "$dir"/log/*.log >&2
    exit 1
}

"${2:-up}"
