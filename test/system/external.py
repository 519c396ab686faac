"""external.py: a Kafka broker that is not ours, as far as a test of the protocol needs it to look like a stack."""
from confluent_kafka.admin import AdminClient, NewTopic

import wire
from stack import wait_until


class ExternalKafka:
    kind = "external"

    def __init__(self, kafka):
        self.kafka = kafka
        self.agents = []

    def create_topic(self, name, partitions=1, **config):
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = AdminClient({"bootstrap.servers": self.kafka})
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)
        wait_until(lambda: wire.is_led(self.kafka, name, partitions), what=f"a leader for {name}")
        return name
