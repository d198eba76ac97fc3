#!/bin/bash
# What the official image of PostgreSQL does with its variables and folders. A variable that it does not know is an error here:
# otherwise a Compose file could rely on a stand-in.
set -Eeuo pipefail

known=" PGDATA POSTGRES_DB POSTGRES_DB_FILE POSTGRES_HOST_AUTH_METHOD POSTGRES_INITDB_ARGS POSTGRES_INITDB_WALDIR
 POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE POSTGRES_USER POSTGRES_USER_FILE "

refuse() {
    echo "stand-in for postgres: $1" >&2
    exit 64
}

# NAME or the content of the file that NAME_FILE names, not both.
setting() {
    local name=$1 file="${1}_FILE"
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then refuse "both $name and $file are set"; fi
    if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!name:-$2}"; fi
}

initialise() {
    local password user database arguments=()
    password=$(setting POSTGRES_PASSWORD "")
    user=$(setting POSTGRES_USER postgres)
    database=$(setting POSTGRES_DB "$user")
    local method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "$password" ] && [ "$method" != trust ]; then refuse "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE is needed"; fi
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then arguments+=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
    # shellcheck disable=SC2086 # several arguments, as the official image reads them
    initdb --username="$user" --pwfile=<(printf '%s\n' "$password") "${arguments[@]}" ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    local psql=(psql -v ON_ERROR_STOP=1 --username "$user" --no-password --no-psqlrc)
    if [ "$database" != postgres ]; then
        "${psql[@]}" --dbname postgres --set db="$database" <<< 'CREATE DATABASE :"db"'
    fi
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
            *.sql) "${psql[@]}" --dbname "$database" --file "$script" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
}

if [ "${1:0:1}" = "-" ]; then set -- postgres "$@"; fi
if [ "$1" = postgres ]; then
    for name in $(compgen -e); do
        case "$name" in
            POSTGRES_* | PG*) [[ "$known" =~ [[:space:]]"$name"[[:space:]] ]] || refuse "the official image has no $name" ;;
        esac
    done
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "$PGDATA"
        chown -R postgres "$PGDATA" /var/run/postgresql
        chmod 700 "$PGDATA"
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    if [ ! -s "$PGDATA/PG_VERSION" ]; then initialise; fi
fi
exec "$@"
