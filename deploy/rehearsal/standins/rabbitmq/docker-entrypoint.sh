#!/bin/bash
# What the official image of RabbitMQ does before the server starts. Variables of old images (RABBITMQ_DEFAULT_PASS_FILE) are
# refused there; here every variable is that the official image or the server does not read.
set -euo pipefail

known=" RABBITMQ_DATA_DIR RABBITMQ_DEFAULT_PASS RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_VHOST RABBITMQ_ERLANG_COOKIE RABBITMQ_NODENAME
 RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS RABBITMQ_USE_LONGNAME "

case "${1:-}" in
    rabbitmq*)
        for name in $(compgen -e); do
            case "$name" in
                RABBITMQ_*)
                    if ! [[ "$known" =~ [[:space:]]"$name"[[:space:]] ]]; then
                        echo "stand-in for rabbitmq: the official image has no $name" >&2
                        exit 64
                    fi
                    ;;
            esac
        done
        if [ "$(id -u)" = 0 ]; then
            find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
            exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
        fi
        if [ -n "${RABBITMQ_ERLANG_COOKIE:-}" ]; then
            printf '%s' "$RABBITMQ_ERLANG_COOKIE" > /var/lib/rabbitmq/.erlang.cookie
            chmod 600 /var/lib/rabbitmq/.erlang.cookie
        fi
        ;;
esac
exec "$@"
