#!/bin/sh
# Backups of one PostgreSQL server: base backups, and its write-ahead log as it is written.
#
# Runs where the programs of PostgreSQL are (in containers: the image of PostgreSQL), as the user that owns the data, never as
# root. The login is that of PGHOST, PGPORT and PGUSER (payflow_backup, which may replicate and nothing else); its password is
# in the file PAYFLOW_BACKUP_PASSWORD_FILE.
#
# Below PAYFLOW_BACKUP_FOLDER each server has a folder <system identifier>-<timeline> with base/<time> and wal. A restored
# server is on a new timeline, so its backups never mix with those that it was restored from.
set -eu

FOLDER=${PAYFLOW_BACKUP_FOLDER:-/backup}
AGE_SECONDS_MAX=${PAYFLOW_BACKUP_AGE_SECONDS_MAX:-300}
RESTORE_SECONDS_MAX=${PAYFLOW_RESTORE_SECONDS_MAX:-14400}
SLOT=payflow_backup
SELF=$(cd "$(dirname "$0")" && pwd)/${0##*/}
export PGUSER="${PGUSER:-payflow_backup}" PGAPPNAME=payflow_backup LC_ALL=C TZ=UTC

USAGE="usage: backup.sh COMMAND
  wal                  receive the write-ahead log until stopped
  base                 make a base backup and verify it
  list                 list the base backups, newest first
  verify               verify the newest base backup and the log since
  restore DATA [TIME]  create the data folder DATA from the backups: all of them, or up to TIME (2026-11-30 12:00:00+00)
  try                  restore into a scratch folder below TMPDIR and remove it
  replace DATA [TIME]  move DATA aside, unless a server responds at PGHOST, and restore
  prune COUNT          keep the newest COUNT base backups and the log since the oldest of them
  nightly COUNT        base, verify, try and prune
  fresh                fail unless the log was received lately
TIME may also be in PAYFLOW_RESTORE_TIME."

fail() {
    echo "payflow: $*" >&2
    exit 1
}

log_in() {
    [ -n "${PAYFLOW_BACKUP_PASSWORD_FILE:-}" ] || return 0
    [ -r "$PAYFLOW_BACKUP_PASSWORD_FILE" ] || fail "the password file $PAYFLOW_BACKUP_PASSWORD_FILE cannot be read"
    PGPASSWORD=$(cat "$PAYFLOW_BACKUP_PASSWORD_FILE")
    export PGPASSWORD
}

# The folder of the server as it is now.
server_folder() {
    identity=$(psql --no-password --no-psqlrc -At -d "replication=true" -c IDENTIFY_SYSTEM 2>&1) \
        || fail "no connection for replication: $(echo "$identity" | head -n 1)"
    system=${identity%%|*}
    rest=${identity#*|}
    echo "$FOLDER/$system-${rest%%|*}"
}

receive() {
    log_in
    child=
    trap 'stopping=yes; [ -z "$child" ] || kill "$child"' TERM INT
    stopping=
    while [ -z "$stopping" ]; do
        # Again after each disconnection: a server that was restored has another folder and no slot.
        if server=$(server_folder) && mkdir -p "$server/wal" \
            && pg_receivewal --no-password --slot "$SLOT" --create-slot --if-not-exists; then
            echo "receiving the log into $server/wal"
            pg_receivewal --no-password --no-loop --synchronous --slot "$SLOT" --directory "$server/wal" &
            child=$!
            wait "$child" || true
            # A signal ends the first wait early.
            wait "$child" || true
            child=
        fi
        [ -n "$stopping" ] || sleep 1
    done
}

# Under a name that begins with a dot until it is complete and verified: no other command uses it before.
base() {
    log_in
    server=$(server_folder)
    name=$(date -u +%Y%m%dT%H%M%SZ)
    draft="$server/base/.$name"
    mkdir -p "$server/base"
    rm -rf "$server"/base/.[0-9]*
    mkdir -m 700 "$draft"
    pg_basebackup --no-password --pgdata "$draft/data" --format plain --wal-method stream --checkpoint fast \
        --label "payflow $name" || fail "no base backup was made"
    pg_verifybackup --quiet "$draft/data" || fail "the base backup is damaged"
    date -u "+%Y-%m-%d %H:%M:%S+00" >"$draft/ended"
    sync
    mv "$draft" "$server/base/$name"
    echo "$server/base/$name"
    echo "not in it, and needed: the secrets of the deployment (secrets.json), above all the auth secret"
}

# All base backups, newest first, whichever server they are of.
bases() {
    for one in "$FOLDER"/*/base/[0-9]*; do
        [ ! -d "$one" ] || echo "${one##*/} $one"
    done | sort -r | cut -d" " -f2-
}

list() {
    bases | while read -r one; do
        echo "$one  ended $(cat "$one/ended")  $(du -sh "$one" | cut -f1)"
    done
}

first_segment() {
    sed -n 's/^START WAL LOCATION: .* (file \([0-9A-F]*\))$/\1/p' "$1/data/backup_label"
}

# The segments of a folder from the first one on; complete ones only.
segments() {
    for segment in "$1"/*; do
        name=${segment##*/}
        case $name in *[!0-9A-F]*) continue ;; esac
        [ ${#name} -ne 24 ] || [ "$name" \< "$2" ] || echo "$name"
    done
}

# The name of the next segment; a segment has 16 MiB, so the last part counts to FF.
following() {
    high=$((0x$(echo "$1" | cut -c9-16)))
    low=$((0x$(echo "$1" | cut -c17-24) + 1))
    printf '%s%08X%08X\n' "$(echo "$1" | cut -c1-8)" $((high + low / 256)) $((low % 256))
}

verify() {
    newest=$(bases | head -n 1)
    [ -n "$newest" ] || fail "there is no base backup below $FOLDER"
    pg_verifybackup --quiet "$newest/data" || fail "$newest is damaged"
    wal=${newest%/base/*}/wal
    expected=$(first_segment "$newest")
    last=
    for name in $(segments "$wal" "$expected"); do
        [ "$name" = "$expected" ] || fail "the log is not complete: $wal/$expected is missing"
        last=$wal/$name
        expected=$(following "$name")
    done
    # Right after the end of a segment there is no incomplete one yet.
    for partial in "$wal"/*.partial; do
        [ -e "$partial" ] || continue
        [ "$partial" = "$wal/$expected.partial" ] || fail "the log is not complete: $wal/$expected is missing"
        last=$partial
    done
    [ -n "$last" ] || fail "the log is not complete: $wal/$expected is missing"
    age=$(($(date +%s) - $(stat -c %Y "$last")))
    [ "$age" -le "$AGE_SECONDS_MAX" ] || fail "the last of the log was received $age s ago"
    echo "$newest is complete, and the log since; the last of it was received $age s ago"
}

# The newest base backup that ended before the time.
base_for() {
    bases | while read -r one; do
        if [ -z "$1" ] || [ "$(date -d "$(cat "$one/ended")" +%s)" -le "$(date -d "$1" +%s)" ]; then
            echo "$one"
            break
        fi
    done
}

# For the recovery: a segment of the log, complete or not; or the history of a timeline. The new timeline is the first that has
# no history: a server that is restored twice must not write its backups into the same folder.
fetch() {
    wal=$1
    cp "$wal/$2" "$3" 2>/dev/null && return
    case $2 in
        *.history) [ -d "${wal%-*}-$((0x${2%.history}))" ] && echo "# used" >"$3" ;;
        *) cp "$wal/$2.partial" "$3" 2>/dev/null ;;
    esac
}

# The recovery runs here, without a network, and ends before the command does: the folder then needs the backups no more.
restore() {
    data=$1
    time=$2
    [ "$(id -u)" -ne 0 ] || fail "PostgreSQL does not run as root: run this as the user that owns the data"
    [ -z "$time" ] || date -d "$time" >/dev/null 2>&1 || fail "$time is not a time"
    [ ! -e "$data" ] || [ -z "$(ls -A "$data")" ] || fail "$data is not empty: nothing was restored"
    from=$(base_for "$time")
    [ -n "$from" ] || fail "there is no base backup ${time:+that ended before $time }below $FOLDER"
    pg_verifybackup --quiet "$from/data" || fail "$from is damaged"
    mkdir -p "$data"
    chmod 700 "$data"
    scratch=$(mktemp -d)
    server=
    trap 'abandon "$data"' EXIT
    cp -a "$from/data/." "$data/"
    touch "$data/recovery.signal"
    recover "$data" "${from%/base/*}/wal" "$time"
    rm -rf "$scratch"
    trap - EXIT
    echo "restored $from into $data"
}

# After a failure: no half-restored folder is left.
abandon() {
    [ -z "$server" ] || kill -QUIT "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" || true
    find "$1" -mindepth 1 -delete
    rm -rf "$scratch"
}

recover() {
    echo "local all all reject" >"$scratch/pg_hba.conf"
    postgres -D "$1" -c listen_addresses= -c unix_socket_directories=. -c "hba_file=$scratch/pg_hba.conf" -c hot_standby=off \
        -c logging_collector=off -c log_destination=stderr -c synchronous_standby_names= -c archive_mode=off \
        -c "restore_command=sh '$SELF' fetch '$2' %f %p" -c recovery_target_timeline=current -c "recovery_target_time=$3" \
        -c recovery_target_action=promote >"$scratch/log" 2>&1 &
    server=$!
    waited=0
    # The file is removed when the recovery has ended, on the new timeline.
    while [ -e "$1/recovery.signal" ] || ! grep -q "ready to accept connections" "$scratch/log"; do
        kill -0 "$server" 2>/dev/null || fail "the recovery failed: $(sed -n 's/.*\(FATAL\|PANIC\): *//p' "$scratch/log" | head -n 1)"
        [ "$waited" -lt $((RESTORE_SECONDS_MAX * 10)) ] || fail "the recovery took longer than $RESTORE_SECONDS_MAX s"
        waited=$((waited + 1))
        sleep 0.1
    done
    kill -INT "$server"
    wait "$server" || fail "the restored server did not stop cleanly"
    sed -n 's/.*last completed transaction was at log time /last transaction: /p' "$scratch/log" | tail -n 1
}

try() {
    scratch_folder=$(mktemp -d "${TMPDIR:-/tmp}/payflow-try.XXXXXXXXXX")
    began=$(date +%s)
    # In a subshell, so that the folder is removed after a failure too.
    (restore "$scratch_folder/data" "") && status=0 || status=$?
    rm -rf "$scratch_folder"
    [ "$status" -ne 0 ] || echo "the restore took $(($(date +%s) - began)) s; it was removed again"
    return "$status"
}

replace() {
    # 1: a server that starts, recovers or stops, and refuses connections meanwhile.
    status=0
    pg_isready --quiet --host "${PGHOST:-localhost}" --timeout 3 || status=$?
    [ "$status" -gt 1 ] || fail "a server responds at ${PGHOST:-localhost}: stop it first"
    if [ -e "$1" ] && [ -n "$(ls -A "$1")" ]; then
        aside="$1.lost-$(date -u +%Y%m%dT%H%M%SZ)"
        mv "$1" "$aside" || fail "$1 was not moved: nothing was restored"
        echo "moved $1 to $aside; remove it once it is needed no more"
    fi
    restore "$1" "$2"
}

require_count() {
    case $1 in "" | 0* | *[!0-9]*) fail "the number of base backups to keep must be at least 1" ;; esac
}

nightly() {
    require_count "$1"
    # What a night left that was killed: each is as large as the data.
    rm -rf "${TMPDIR:-/tmp}"/payflow-try.??????????
    base
    verify
    try
    prune "$1"
}

fresh() {
    minutes=$(((AGE_SECONDS_MAX + 59) / 60))
    [ -n "$(find "$FOLDER" -path '*/wal/*' -mmin "-$minutes" 2>/dev/null | head -n 1)" ] \
        || fail "no log was received for $AGE_SECONDS_MAX s"
}

prune() {
    require_count "$1"
    bases | tail -n +$(($1 + 1)) | while read -r one; do
        rm -rf "$one"
        echo "removed $one"
    done
    newest=$(bases | head -n 1)
    for server in "$FOLDER"/*-*; do
        oldest=$(bases | grep -F "$server/" | tail -n 1 || true)
        if [ -n "$oldest" ]; then
            pg_archivecleanup "$server/wal" "$(first_segment "$oldest")"
        elif [ -n "$newest" ] && [ -z "$(find "$server" -newer "$newest/ended" -name '*.partial')" ]; then
            # The log of an earlier server, of which no base backup is left.
            rm -rf "$server"
            echo "removed $server"
        fi
    done
}

case "${1:-}:$#" in
    wal:1) receive ;;
    base:1) base ;;
    list:1) list ;;
    verify:1) verify ;;
    restore:2 | restore:3) restore "$2" "${3:-${PAYFLOW_RESTORE_TIME:-}}" ;;
    replace:2 | replace:3) replace "$2" "${3:-${PAYFLOW_RESTORE_TIME:-}}" ;;
    nightly:2) nightly "$2" ;;
    fresh:1) fresh ;;
    try:1) try ;;
    prune:2) prune "$2" ;;
    fetch:4) fetch "$2" "$3" "$4" ;;
    *)
        echo "$USAGE" >&2
        exit 2
        ;;
esac
