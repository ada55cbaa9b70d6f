#!/bin/sh
# Write the broker's accounts from the environment, then become the broker. The passwords stand in no argument list
# and on no disk: mosquitto_passwd -U hashes the file where it lies, in memory.
set -eu
umask 077

config=${1:-/mosquitto/config}
run=${2:-/run/mosquitto}
accounts=$run/passwords
# mosquitto wants both files to be its own and nobody else's, which a mounted one is not.
cat "$config/mosquitto.acl" >"$run/acl"
printf 'ioc:%s\ngateway:%s\n' "$IOC_MQTT_PASSWORD" "$IOC_GATEWAY_PASSWORD" >"$accounts"
mosquitto_passwd -U "$accounts"
unset IOC_MQTT_PASSWORD IOC_GATEWAY_PASSWORD
exec mosquitto -c "$config/mosquitto.conf"
