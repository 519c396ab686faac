"""group_consumer.py: a consumer of a group in a process of its own, to be killed: it says on standard output what it has, a line
each: "assigned 0,1", "got PARTITION OFFSET VALUE" before it commits, "committed PARTITION OFFSET" after.

    group_consumer.py confluent|kafka-python BOOTSTRAP GROUP TOPIC SESSION_MS [INSTANCE]
"""
import sys


def say(*words):
    print(*words, flush=True)


def confluent(kafka, group, topic, session_ms, instance):
    from confluent_kafka import Consumer, KafkaException, TopicPartition
    config = {"bootstrap.servers": kafka, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
              "session.timeout.ms": session_ms, "heartbeat.interval.ms": 300, "reconnect.backoff.max.ms": 500}
    if instance:
        config["group.instance.id"] = instance
    consumer = Consumer(config)
    consumer.subscribe([topic], on_assign=lambda _consumer, given: say("assigned", ",".join(str(place.partition) for place in given)))
    while True:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        say("got", message.partition(), message.offset(), message.value().decode())
        try:
            consumer.commit(offsets=[TopicPartition(topic, message.partition(), message.offset() + 1)], asynchronous=False)
            say("committed", message.partition(), message.offset() + 1)
        except KafkaException:
            pass  # a rebalance: whoever has the partition now reads it again


def kafka_python(kafka, group, topic, session_ms, _instance):
    from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError
    from kafka.structs import OffsetAndMetadata

    class Listener(ConsumerRebalanceListener):
        def on_partitions_revoked(self, revoked):
            pass

        def on_partitions_assigned(self, assigned):
            say("assigned", ",".join(str(place.partition) for place in sorted(assigned)))

    consumer = KafkaConsumer(bootstrap_servers=kafka.split(","), group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                             session_timeout_ms=session_ms, heartbeat_interval_ms=300, reconnect_backoff_max_ms=500)
    consumer.subscribe([topic], listener=Listener())
    while True:
        for place, records in consumer.poll(200).items():
            for record in records:
                say("got", place.partition, record.offset, record.value.decode())
                try:
                    consumer.commit({TopicPartition(topic, place.partition): OffsetAndMetadata(record.offset + 1, "")})
                    say("committed", place.partition, record.offset + 1)
                except KafkaError:
                    pass


if __name__ == "__main__":
    client, *arguments = sys.argv[1:]
    bootstrap, group_name, topic_name, session = arguments[:4]
    play = {"confluent": confluent, "kafka-python": kafka_python}[client]
    play(bootstrap, group_name, topic_name, int(session), arguments[4] if len(arguments) > 4 else None)
