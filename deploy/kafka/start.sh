#!/bin/bash
# Format the data once, with the users that may sign in, and start the broker.
# The image's own start takes no SCRAM users, without whom nobody could sign in to make the first one.
set -euo pipefail
umask 077
configuration=/tmp/server.properties
cat /etc/lostphone/server.properties /run/secrets/broker.properties >"$configuration"

if [ ! -f /var/lib/kafka/data/meta.properties ]; then
  users=()
  while IFS= read -r user; do users+=(--add-scram "$user"); done </run/secrets/kafka-users
  /opt/kafka/bin/kafka-storage.sh format -t "$(/opt/kafka/bin/kafka-storage.sh random-uuid)" -c "$configuration" "${users[@]}"
fi
exec /opt/kafka/bin/kafka-server-start.sh "$configuration"
