#!/usr/bin/env bash
# A real Slurm on this one machine, for development and tests: several virtual nodes, fake GPUs, partitions that preempt.
# Needs root and the packages slurm-wlm and munge (with --accounting also slurmdbd and mariadb-server); no systemd.
#
#   cluster.sh start DIRECTORY [--accounting] [--cgroup] [Key=Value ..]    state, logs and configuration are in DIRECTORY
#   cluster.sh stop DIRECTORY                                              ends what `start` started, by process id
#   cluster.sh node-kill DIRECTORY NODE | node-start DIRECTORY NODE        kill -9 of a node's slurmd; start it (again)
#   cluster.sh controller-kill DIRECTORY | controller-start DIRECTORY      the same for slurmctld
#
# Then `export SLURM_CONF=DIRECTORY/slurm.conf`. Key=Value replaces or adds a line of slurm.conf, e.g. MaxArraySize=11.
# Environment: NODES=3 (2 at least) CPUS=8 MEMORY=4096 (MB) GPUS=2, per node; PORT=27800, the first of 200 ports.
# Partitions: main; low on the last node, whose jobs are preempted by those in high, on all nodes; short, two minutes at most.
set -euo pipefail
NODES=${NODES:-3} CPUS=${CPUS:-8} MEMORY=${MEMORY:-4096} GPUS=${GPUS:-2} PORT=${PORT:-27800}
PATH=/usr/sbin:/sbin:$PATH
action=${1:?start, stop, node-kill, node-start, controller-kill or controller-start} directory=${2:?directory of the cluster}
shift 2
mkdir -p "$directory"; directory=$(cd "$directory" && pwd)
export SLURM_CONF=$directory/slurm.conf
with_accounting=no with_cgroup=no overrides=()

fail() { echo "cluster.sh: $*" >&2; exit 1; }

# Whether process $1 runs program $2: ids are reused, and a zombie has not been reaped yet
runs() { [[ $(cat "/proc/${1:-none}/comm" 2>/dev/null) == "$2" && $(awk '/^State/{print $2}' "/proc/$1/status") != Z ]]; }
id_of() { cat "$directory/run/$1.pid" 2>/dev/null || true; }

until_true() { # SECONDS WHAT COMMAND..
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "still waiting for $what; see the logs in $directory/log"
        sleep 0.1
    done
}

end() { # SIGNAL NAME PROGRAM: of one daemon, and wait until it is gone
    local id; id=$(id_of "$2")
    runs "$id" "$3" && kill "-$1" "$id"
    local turn; for ((turn = 0; turn < 300; turn++)); do
        runs "$id" "$3" || break
        ((turn != 200)) || kill -KILL "$id"
        sleep 0.1
    done
    rm -f "$directory/run/$2.pid"
}

configure() {
    local gpu gres='' plugins accounting
    # a GRES without device files drains the node; any character device will do
    for ((gpu = 0; gpu < GPUS; gpu++)); do [[ -e $directory/gpu$gpu ]] || mknod "$directory/gpu$gpu" c 1 3; done
    if ((GPUS)); then
        gres="Gres=gpu:$GPUS"
        echo "NodeName=node[1-$NODES] Name=gpu File=$directory/gpu[0-$((GPUS - 1))]" > "$directory/gres.conf"
    else : > "$directory/gres.conf"; fi
    if [[ $with_cgroup == yes ]]; then
        plugins=$'ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup'
        printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup ConstrainRAMSpace=yes > "$directory/cgroup.conf"
    else
        plugins=$'ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none'
        rm -f "$directory/cgroup.conf"
    fi
    if [[ $with_accounting == yes ]]; then
        accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((PORT + 2))
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2"
    else accounting=$'AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none'; fi
    # a wiped cluster that counted from 1 again would find the files of earlier jobs
    [[ -s $directory/first_job ]] || echo $(($(date +%s) % 40000000 + 1)) > "$directory/first_job"
    cat > "$SLURM_CONF" <<CONF
ClusterName=sweepdev
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits for its credential to expire, by default two minutes
AuthInfo=cred_expire=5
MpiDefault=none
SwitchType=switch/none
$plugins
$accounting
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool/%n
SlurmctldPidFile=$directory/run/slurmctld.pid
SlurmdPidFile=$directory/run/%n.pid
SlurmctldLogFile=$directory/log/slurmctld.log
SlurmdLogFile=$directory/log/%n.log
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=20
KillWait=5
MinJobAge=300
MessageTimeout=10
# more cores than the machine has
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
GresTypes=gpu
MaxArraySize=1001
MaxJobCount=10000
FirstJobId=$(cat "$directory/first_job")
DefMemPerCPU=400
NodeName=node[1-$NODES] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((PORT + 101))-$((PORT + 100 + NODES))] CPUs=$CPUS RealMemory=$MEMORY $gres State=UNKNOWN
PartitionName=main  Nodes=node[1-$((NODES - 1))] Default=YES MaxTime=1-0 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
PartitionName=low   Nodes=node$NODES MaxTime=1-0 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high  Nodes=ALL MaxTime=1:00:00 DefaultTime=10 PriorityTier=100 PreemptMode=OFF
PartitionName=short Nodes=node1 MaxTime=2 DefaultTime=1 PriorityTier=10 PreemptMode=OFF
CONF
    local setting
    for setting in "${overrides[@]}"; do
        sed -i "/^${setting%%=*}=/d" "$SLURM_CONF"
        echo "$setting" >> "$SLURM_CONF"
    done
}

munge_works() { munge -n | unmunge; }

start_munge() {
    if munge_works >/dev/null 2>&1; then return; fi
    install -d -o munge -g munge -m 755 /run/munge # elsewhere systemd creates it
    if [[ ! -s /etc/munge/munge.key ]]; then
        (umask 077; head -c 128 /dev/urandom > /etc/munge/munge.key)
        chown munge:munge /etc/munge/munge.key
    fi
    setpriv --reuid munge --regid munge --clear-groups munged
    until_true 30 "a working munge" munge_works
    cp /run/munge/munged.pid "$directory/run/munged.pid"
}

sql() { mariadb --no-defaults --user=root --socket="$directory/mysql/sock" "$@"; }

start_accounting() {
    install -d -o mysql -g mysql "$directory/mysql"
    [[ -d $directory/mysql/mysql ]] || mariadb-install-db --no-defaults --user=mysql --datadir="$directory/mysql" --skip-test-db \
        --auth-root-authentication-method=normal > "$directory/log/mariadb-install.log" 2>&1
    if ! runs "$(id_of mariadbd)" mariadbd; then
        setsid mariadbd --no-defaults --user=mysql --datadir="$directory/mysql" --socket="$directory/mysql/sock" --bind-address=127.0.0.1 \
            --port=$((PORT + 3)) --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
            > "$directory/log/mariadbd.log" 2>&1 < /dev/null &
        echo $! > "$directory/run/mariadbd.pid"
        until_true 120 "a working mariadbd" sql -e 'select 1'
    fi
    sql -e "create database if not exists slurm; create user if not exists 'slurm'@'127.0.0.1' identified by 'dev';
        create user if not exists 'slurm'@'localhost' identified by 'dev';
        grant all on slurm.* to 'slurm'@'127.0.0.1'; grant all on slurm.* to 'slurm'@'localhost'"
    cat > "$directory/slurmdbd.conf" <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdPort=$((PORT + 2))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 3))
StorageUser=slurm
StoragePass=dev
StorageLoc=slurm
LogFile=$directory/log/slurmdbd.log
PidFile=$directory/run/slurmdbd.pid
CONF
    chmod 600 "$directory/slurmdbd.conf" # slurmdbd insists
    runs "$(id_of slurmdbd)" slurmdbd || slurmdbd
    until_true 120 "a working slurmdbd" sacctmgr -n show cluster
    local quiet="sacctmgr --immediate --quiet"
    $quiet add cluster sweepdev >/dev/null 2>&1 || true
    $quiet add account dev Description=dev Organization=dev >/dev/null 2>&1 || true
    $quiet add qos limited MaxSubmitJobsPerUser=10 >/dev/null 2>&1 || true
    $quiet add user root Account=dev >/dev/null 2>&1 || true
    $quiet modify user root set QOS=normal,limited DefaultQOS=normal >/dev/null 2>&1 || true
}

start_node() { # NODE
    mkdir -p "$directory/spool/$1"
    # the mark is how `stop` finds the step processes, which outlive their slurmd
    runs "$(id_of "$1")" slurmd || SWEEP_DEV_CLUSTER=$directory slurmd -N "$1"
}

usable_nodes() { sinfo --noheader --Node --states idle,mixed,allocated --format %N | sort -u | wc -l; }
all_usable() { [[ $(usable_nodes) == "$NODES" ]]; }

start() {
    local argument node
    for argument; do
        case $argument in
            --accounting) with_accounting=yes ;;
            --cgroup) with_cgroup=yes ;;
            *=*) overrides+=("$argument") ;;
            *) fail "unknown option $argument" ;;
        esac
    done
    [[ $(id -u) == 0 ]] || fail "must be root"
    mkdir -p "$directory"/{run,log,state,spool}
    start_munge
    configure
    if [[ $with_accounting == yes ]]; then start_accounting; fi
    runs "$(id_of slurmctld)" slurmctld || slurmctld
    until_true 60 "a working slurmctld" scontrol ping
    for ((node = 1; node <= NODES; node++)); do start_node "node$node"; done
    until_true 60 "$NODES usable nodes" all_usable
}

stop() {
    local file id
    if runs "$(id_of slurmctld)" slurmctld; then
        kill -CONT "$(id_of slurmctld)" # a test may have stopped it
        timeout 20 scancel --user "$(id -un)" 2>/dev/null || true
        for ((id = 0; id < 80; id++)); do [[ -n $(timeout 20 squeue --noheader 2>/dev/null) ]] || break; sleep 0.1; done
    fi
    for file in "$directory"/run/node*.pid; do [[ ! -e $file ]] || kill "$(cat "$file")" 2>/dev/null || true; done
    for file in "$directory"/run/node*.pid; do [[ ! -e $file ]] || end TERM "$(basename "$file" .pid)" slurmd; done
    for id in $(steps); do kill -KILL "$id" 2>/dev/null || true; done
    end TERM slurmctld slurmctld
    end TERM slurmdbd slurmdbd
    end TERM mariadbd mariadbd
    pgrep -x slurmctld >/dev/null || end TERM munged munged # another cluster here may be using it
}

steps() { # the slurmstepd processes of this cluster
    local process
    for process in /proc/[0-9]*; do
        [[ $(readlink "$process/exe" 2>/dev/null) == */slurmstepd* ]] || continue
        ! grep -qz "^SWEEP_DEV_CLUSTER=$directory$" "$process/environ" 2>/dev/null || echo "${process#/proc/}"
    done
}

case $action in
    start) start "$@" ;;
    stop) stop ;;
    node-kill) end KILL "$1" slurmd ;;
    node-start) start_node "$1" ;;
    controller-kill) end KILL slurmctld slurmctld ;;
    controller-start) runs "$(id_of slurmctld)" slurmctld || slurmctld; until_true 60 "a working slurmctld" scontrol ping ;;
    *) fail "unknown action $action" ;;
esac
