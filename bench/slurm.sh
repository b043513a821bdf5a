#!/usr/bin/env bash
# A Slurm cluster of three virtual nodes on this one machine, to test profiles/slurm.
#   bash bench/slurm.sh test     starts it, runs tests/pipeline/test_slurm.py on it, stops it
#   bash bench/slurm.sh start    starts it
#   bash bench/slurm.sh stop     stops it
# Needs root and Debian's packages (apt-get install slurmctld slurmd slurm-client munge; `start` installs them if they are
# missing). It never touches a Slurm that it did not set up. Each node has two cores, 7 GB and a GPU that does not exist.
set -euo pipefail
folder="${SLURM_FOLDER:-/var/tmp/symphony-slurm}"
mark="# Made by bench/slurm.sh of symphony"
conf=/etc/slurm/slurm.conf
nodes=3

die() { echo "slurm.sh: $*" >&2; exit 1; }

check() {
  [ "$(id -u)" = 0 ] || die "found user $(id -un), allowed: root"
  [ ! -e "$conf" ] || grep -qF "$mark" "$conf" || die "$conf: found a Slurm of somebody else, allowed: none"
}

install_packages() {
  command -v slurmctld slurmd sbatch munged > /dev/null && return
  command -v apt-get > /dev/null || die "found no Slurm and no apt-get, allowed: either"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends slurmctld slurmd slurm-client munge > /dev/null
}

configure() {
  local name
  name="$(hostname -s)"
  mkdir -p "$folder/state" /etc/slurm
  cat > "$conf" << END
$mark
ClusterName=symphony
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=17100
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdTimeout=10
ReturnToService=2
MinJobAge=600
MpiDefault=none
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName=n[1-$nodes] NodeHostname=$name NodeAddr=127.0.0.1 Port=[17101-$((17100 + nodes))] CPUs=2 RealMemory=7000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  echo "$mark
NodeName=n[1-$nodes] Name=gpu File=/dev/zero" > /etc/slurm/gres.conf
}

start() {
  check
  install_packages
  check
  if ! munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then
    install -d -o munge -g munge -m 755 /run/munge
    setpriv --reuid=munge --regid=munge --clear-groups munged
    mkdir -p "$folder" && cp /run/munge/munged.pid "$folder/munged.pid"
  fi
  configure
  slurmctld -c
  for number in $(seq "$nodes"); do slurmd -N "n$number"; done
  for _ in $(seq 60); do
    [ "$(sinfo -h -t idle -o %D 2> /dev/null)" = "$nodes" ] && { sinfo; return; }
    sleep 0.5
  done
  die "the nodes did not come up; see $folder"
}

stop() {
  check
  [ ! -e "$conf" ] || scancel -u root 2> /dev/null || true
  for file in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
    if [ -s "$file" ] && grep -qE "slurm|munge" "/proc/$(cat "$file")/comm" 2> /dev/null; then kill "$(cat "$file")"; fi
  done
  sleep 1
  rm -rf "$folder" "$conf" /etc/slurm/gres.conf
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  test)
    cd "$(dirname "$0")/.."
    trap stop EXIT
    start
    python="${PYTHON:-.venv/bin/python}"
    "$python" -m pytest -q -p no:cacheprovider -m slow tests/pipeline/test_slurm.py
    ;;
  *) die "found '${1:-}', allowed: start, stop, test" ;;
esac
