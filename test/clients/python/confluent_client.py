"""confluent_client.py produce|consume|member …: the current confluent-kafka, on the librdkafka it brings."""
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

import talk


def produce(kafka, topic, partition, codec):
    failures = []
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5})

    def delivered(error, _message):
        if error:
            failures.append(error)

    for key, value, timestamp, headers in talk.records():
        producer.produce(topic, value, key, int(partition), on_delivery=delivered, timestamp=timestamp, headers=headers)
        producer.poll(0)
    left = producer.flush(60)
    if left or failures:
        sys.exit(f"{left} not acknowledged; {failures[:1]}")


def consume(kafka, topic, partition, count):
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "nobody", "enable.auto.commit": False, "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, int(partition), 0)])
    for _ in range(int(count)):
        message = consumer.poll(60)
        if message is None or message.error():
            raise KafkaException(message and message.error())
        talk.tell_record(message.offset(), message.key(), message.value(), message.timestamp()[1], message.headers())
    consumer.close()


def configure_member(kafka, group, protocol, instance):
    config = {"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    config.update({"group.protocol": "consumer"} if protocol == "consumer" else
                  {"group.protocol": "classic", "partition.assignment.strategy": protocol})
    if instance:
        config["group.instance.id"] = instance
    return config


def member(kafka, topic, group, protocol, instance=None):
    consumer, held = Consumer(configure_member(kafka, group, protocol, instance)), set()

    def assigned(_consumer, partitions):
        held.update(place.partition for place in partitions)
        talk.tell_assigned(held)

    def revoked(_consumer, partitions):
        held.difference_update(place.partition for place in partitions)
        talk.tell_assigned(held)

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    leave = talk.order_to_leave()
    while not leave.is_set():
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)
            continue
        talk.tell_received(message.partition(), message.offset(), message.value())
        consumer.commit(message, asynchronous=False)
    consumer.close()
    print("closed")


if __name__ == "__main__":
    {"produce": produce, "consume": consume, "member": member}[sys.argv[1]](*sys.argv[2:])
