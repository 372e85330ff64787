#!/bin/sh
# Take the settings that are secret from files, so that they stand neither in the compose file nor in `docker inspect`.
set -eu
set -a
. /run/secrets/settings.env
set +a
exec "$@"
