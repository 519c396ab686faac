"""aiokafka_client.py produce|consume|member …: aiokafka, the client of asyncio programs."""
import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

import talk


async def produce(kafka, topic, partition, codec):
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, linger_ms=5,
                                compression_type=None if codec == "none" else codec)
    async with producer:
        futures = [await producer.send(topic, value, key, int(partition), timestamp, headers)
                   for key, value, timestamp, headers in talk.records()]
        await asyncio.wait_for(asyncio.gather(*futures), 60)


async def consume(kafka, topic, partition, count):
    place, seen = TopicPartition(topic, int(partition)), 0
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="none") as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        while seen < int(count):
            message = await asyncio.wait_for(consumer.getone(), 60)
            talk.tell_record(message.offset, message.key, message.value, message.timestamp, message.headers)
            seen += 1


class Teller(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        talk.tell_assigned(set())

    def on_partitions_assigned(self, assigned):
        talk.tell_assigned({place.partition for place in assigned})


async def member(kafka, topic, group, protocol, instance=None):
    assert protocol == "range"
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, group_instance_id=instance, enable_auto_commit=False,
                                auto_offset_reset="earliest", partition_assignment_strategy=[RangePartitionAssignor])
    consumer.subscribe([topic], listener=Teller())
    leave = talk.order_to_leave()
    async with consumer:
        while not leave.is_set():
            for messages in (await consumer.getmany(timeout_ms=100)).values():
                for message in messages:
                    talk.tell_received(message.partition, message.offset, message.value)
                await consumer.commit()
    print("closed")


if __name__ == "__main__":
    asyncio.run({"produce": produce, "consume": consume, "member": member}[sys.argv[1]](*sys.argv[2:]))
