#!/bin/sh
# Write Kafka's accounts from the environment, then become Kafka. The passwords stand in no argument list and on no
# disk. Once it answers, a helper makes the topic and says who may do what; both are there already at the next start.
set -eu
umask 077

config=${1:-/etc/kafka/ioc}
run=${2:-/run/kafka}
bin=${3:-/opt/kafka/bin}
topic=ioc-readings
group=ioc-monitor

rm -f "$run/ready"
cat "$config/kafka.properties" >"$run/server.properties"
for listener in clients outside; do
  printf 'listener.name.%s.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_ioc="%s" user_gateway="%s";\n' \
    "$listener" "$IOC_MQTT_PASSWORD" "$IOC_GATEWAY_PASSWORD" >>"$run/server.properties"
done
printf 'advertised.listeners=LOCAL://127.0.0.1:9091,CLIENTS://kafka:9092,OUTSIDE://%s\n' "$KAFKA_OUTSIDE" >>"$run/server.properties"
unset IOC_MQTT_PASSWORD IOC_GATEWAY_PASSWORD

"$bin/kafka-storage.sh" format --ignore-formatted --cluster-id ioc0monitor0kafka0cluste --config "$run/server.properties"

prepare() {
  at="--bootstrap-server 127.0.0.1:9091"
  # shellcheck disable=SC2086
  "$bin/kafka-topics.sh" $at --create --if-not-exists --topic "$topic" &&
    # The monitor reads; gateways write, and never read.
    "$bin/kafka-acls.sh" $at --add --allow-principal User:ioc --consumer --topic "$topic" --group "$group" &&
    "$bin/kafka-acls.sh" $at --add --allow-principal User:gateway --producer --topic "$topic"
}
(
  unset KAFKA_HEAP_OPTS
  until prepare >"$run/prepare.log" 2>&1; do sleep 2; done
  touch "$run/ready"
) &
exec "$bin/kafka-server-start.sh" "$run/server.properties"
