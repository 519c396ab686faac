"""client.py produce|consume KAFKA TOPIC PARTITION CODEC|COUNT: the current confluent-kafka, with lines as in line.py."""
import base64
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition


def decode(word):
    return None if word == "-" else base64.b64decode(word[1:])


def encode(data):
    return "-" if data is None else "=" + base64.b64encode(data).decode()


def produce(kafka, topic, partition, codec):
    failures = []
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5})

    def delivered(error, _message):
        if error:
            failures.append(error)

    for line in sys.stdin:
        key, value, timestamp, headers = line.split()
        pairs = [] if headers == "-" else [pair.split(":") for pair in headers.split(",")]
        producer.produce(topic, decode(value), decode(key), int(partition), on_delivery=delivered, timestamp=int(timestamp),
                         headers=[(decode(name).decode(), decode(data)) for name, data in pairs])
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
        headers = ",".join(f"{encode(name.encode())}:{encode(value)}" for name, value in message.headers() or []) or "-"
        print(message.offset(), encode(message.key()), encode(message.value()), message.timestamp()[1], headers)
    consumer.close()


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
