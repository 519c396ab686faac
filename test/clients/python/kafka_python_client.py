"""kafka_python_client.py produce|consume|member …: the current kafka-python, which shares no code with librdkafka."""
import sys
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor

import talk

ASSIGNORS = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}


def produce(kafka, topic, partition, codec):
    producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=5, compression_type=None if codec == "none" else codec)
    futures = [producer.send(topic, value, key, headers, int(partition), timestamp) for key, value, timestamp, headers in talk.records()]
    producer.flush(60)
    for future in futures:
        future.get(60)
    producer.close()


def consume(kafka, topic, partition, count):
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="none")
    place = TopicPartition(topic, int(partition))
    consumer.assign([place])
    consumer.seek(place, 0)
    seen, deadline = 0, time.monotonic() + 60
    while seen < int(count) and time.monotonic() < deadline:
        for message in consumer.poll(500).get(place, []):
            talk.tell_record(message.offset, message.key, message.value, message.timestamp, message.headers)
            seen += 1
    consumer.close()


class Teller(ConsumerRebalanceListener):
    def __init__(self, consumer):
        self.consumer = consumer

    def on_partitions_revoked(self, revoked):
        talk.tell_assigned({place.partition for place in self.consumer.assignment() - set(revoked)})

    def on_partitions_assigned(self, assigned):
        talk.tell_assigned({place.partition for place in self.consumer.assignment() | set(assigned)})


def member(kafka, topic, group, protocol, instance=None):
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=group, group_instance_id=instance, enable_auto_commit=False,
                             auto_offset_reset="earliest", partition_assignment_strategy=[ASSIGNORS[protocol]])
    consumer.subscribe([topic], listener=Teller(consumer))
    leave = talk.order_to_leave()
    while not leave.is_set():
        for messages in consumer.poll(100).values():
            for message in messages:
                talk.tell_received(message.partition, message.offset, message.value)
            consumer.commit()
    consumer.close()
    print("closed")


if __name__ == "__main__":
    {"produce": produce, "consume": consume, "member": member}[sys.argv[1]](*sys.argv[2:])
