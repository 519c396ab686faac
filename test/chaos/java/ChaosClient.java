/* ChaosClient.java producer|member|drain NAME=VALUE…: the clients of a chaos run that are Apache Kafka's own. Each outlives every
 * fault, and stops at SIGTERM. */
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class ChaosClient {
    private static final int UNFINISHED_MAX = 1000;
    private static volatile boolean stopping;
    private static final CountDownLatch DONE = new CountDownLatch(1);

    private final Map<String, String> config;
    private final Journal journal;
    private final Random chance;
    private final List<TopicPartition> places = new ArrayList<>();
    private long number;
    private int session;

    private ChaosClient(String role, Map<String, String> config) throws Exception {
        this.config = config;
        this.journal = new Journal(Path.of(config.get("folder")), config.get("process"), "java " + role);
        this.chance = new Random(Long.parseLong(config.get("seed")));
        for (String topic : config.get("topics").split(",")) {
            String[] words = topic.split("/");
            for (int partition = 0; partition < Integer.parseInt(words[1]); partition++) {
                places.add(new TopicPartition(words[0], partition));
            }
        }
    }

    private static String name(String topic, int partition) {
        return topic + "/" + partition;
    }

    private static String names(Collection<TopicPartition> some) {
        return some.stream().map(place -> Journal.quote(name(place.topic(), place.partition()))).collect(Collectors.joining(",", "[", "]"));
    }

    private Properties connect() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", config.get("bootstrap"));
        properties.put("reconnect.backoff.max.ms", "500");
        properties.put("metadata.max.age.ms", "5000");
        properties.put("request.timeout.ms", "10000");
        return properties;
    }

    private ProducerRecord<byte[], byte[]> make() {
        number++;
        TopicPartition place = places.get(chance.nextInt(places.size()));
        int how = chance.nextInt(3);
        int size = chance.nextInt(50) == 0 ? chance.nextInt(60_000) : chance.nextInt(300);
        StringBuilder value = new StringBuilder(config.get("process") + ":" + number + ":");
        while (size-- > 0) {
            value.append((char) ('a' + chance.nextInt(26)));
        }
        byte[] key = how == 0 ? null : ("k" + chance.nextInt(50)).getBytes(StandardCharsets.UTF_8);
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(place.topic(), how < 2 ? place.partition() : null, System.currentTimeMillis(),
            key, value.toString().getBytes(StandardCharsets.UTF_8));
        if (chance.nextBoolean()) {
            record.headers().add("a", chance.nextBoolean() ? null : Long.toString(number).getBytes(StandardCharsets.UTF_8));
        }
        return record;
    }

    private void writeSent(ProducerRecord<byte[], byte[]> record, long startNs, RecordMetadata told, Exception error) {
        boolean known = error == null && told != null && told.hasOffset();
        Integer partition = known ? Integer.valueOf(told.partition()) : record.partition();
        String place = partition == null ? "null" : Journal.quote(name(record.topic(), partition));
        journal.write("send", startNs, known ? "ok" : "unknown", "\"records\":[[" + place + "," + (known ? told.offset() : "null") + ","
            + Journal.quote(Journal.identity(record.value())) + ","
            + Journal.quote(Journal.digest(record.key(), record.value(), record.headers(), record.timestamp())) + "]],\"ordered\":true,\"session\":"
            + session + (error == null ? "" : ",\"error\":" + Journal.quote(String.valueOf(error))));
        if (known) {
            journal.succeed(1, 0);
        }
    }

    private void produce() throws Exception {
        Properties properties = connect();
        properties.put("linger.ms", "5");
        properties.put("delivery.timeout.ms", "120000");
        properties.put("max.block.ms", "5000");
        properties.put("buffer.memory", "8388608");
        properties.put("compression.type", List.of("none", "lz4", "zstd", "gzip", "snappy").get(chance.nextInt(5)));
        AtomicInteger unfinished = new AtomicInteger();
        long gapMs = Math.max(1, 1000 / Long.parseLong(config.getOrDefault("rate", "60")));
        Exception[] fatal = new Exception[1];
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            while (!stopping && fatal[0] == null) {
                Thread.sleep(gapMs);
                journal.tell(false);
                if (unfinished.get() >= UNFINISHED_MAX) {
                    continue;
                }
                ProducerRecord<byte[], byte[]> record = make();
                long startNs = Journal.now();
                unfinished.incrementAndGet();
                producer.send(record, (told, error) -> {
                    unfinished.decrementAndGet();
                    writeSent(record, startNs, told, error);
                    if (error instanceof ProducerFencedException) {
                        fatal[0] = error;
                    }
                });
            }
            producer.flush();
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group, String protocol) {
        Properties properties = connect();
        properties.put("enable.auto.commit", "false");
        properties.put("default.api.timeout.ms", "20000");
        properties.put("fetch.max.wait.ms", "200");
        properties.put("max.poll.records", "300");
        properties.put("auto.offset.reset", group == null ? "none" : "earliest");
        if (group != null) {
            properties.put("group.id", group);
            properties.put("group.protocol", protocol);
        }
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Map<TopicPartition, OffsetAndMetadata> writeReads(ConsumerRecords<byte[], byte[]> records, long startNs) {
        Map<TopicPartition, OffsetAndMetadata> after = new HashMap<>();
        List<String> reads = new ArrayList<>();
        for (TopicPartition place : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> some = records.records(place);
            reads.add(Journal.reads(name(place.topic(), place.partition()), some));
            after.put(place, new OffsetAndMetadata(some.get(some.size() - 1).offset() + 1));
        }
        if (!reads.isEmpty()) {
            journal.write("poll", startNs, "ok", "\"mode\":\"group\",\"group\":" + Journal.quote(config.get("group")) + ",\"reads\":{" + String.join(",", reads) + "}");
            journal.succeed(0, records.count());
        }
        return after;
    }

    private void commit(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, OffsetAndMetadata> after) {
        Map<String, Long> offsets = new TreeMap<>();
        after.forEach((place, offset) -> offsets.put(name(place.topic(), place.partition()), offset.offset()));
        String fields = "\"group\":" + Journal.quote(config.get("group")) + ",\"offsets\":" + Journal.offsets(offsets);
        long startNs = Journal.now();
        try {
            consumer.commitSync(after);
            journal.write("commit", startNs, "ok", fields);
        } catch (RuntimeException error) {
            journal.write("commit", startNs, "unknown", fields + ",\"error\":" + Journal.quote(String.valueOf(error)));
        }
    }

    private ConsumerRebalanceListener teller() {
        return new ConsumerRebalanceListener() {
            private void tell(Collection<TopicPartition> added, Collection<TopicPartition> removed) {
                journal.write("assign", Journal.now(), "ok", "\"mode\":\"group\",\"group\":" + Journal.quote(config.get("group"))
                    + ",\"added\":" + names(added) + ",\"removed\":" + names(removed));
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                tell(Set.of(), revoked);
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> added) {
                tell(added, Set.of());
            }
        };
    }

    private void follow() throws Exception {
        long leaveNs = Journal.now() + 20_000_000_000L + chance.nextInt(40) * 1_000_000_000L;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(config.get("group"), config.get("protocol"))) {
            consumer.subscribe(places.stream().map(TopicPartition::topic).collect(Collectors.toSet()), teller());
            while (!stopping && Journal.now() < leaveNs) {
                long startNs = Journal.now();
                Map<TopicPartition, OffsetAndMetadata> after = writeReads(consumer.poll(Duration.ofMillis(200)), startNs);
                if (!after.isEmpty()) {
                    commit(consumer, after);
                }
                journal.tell(false);
            }
        }
    }

    /* Everything, from beginning to end. */
    private void drain() throws Exception {
        String door = Journal.quote("java, try " + session);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, null)) {
            consumer.assign(places);
            Map<TopicPartition, Long> ends = consumer.endOffsets(places);
            consumer.seekToBeginning(places);
            long deadlineNs = Journal.now() + 120_000_000_000L;
            while (places.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
                if (Journal.now() > deadlineNs) {
                    throw new IllegalStateException("the end does not come");
                }
                long startNs = Journal.now();
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
                String reads = records.partitions().stream().map(place -> Journal.reads(name(place.topic(), place.partition()), records.records(place)))
                    .collect(Collectors.joining(","));
                if (!reads.isEmpty()) {
                    journal.write("drain", startNs, "ok", "\"door\":" + door + ",\"reads\":{" + reads + "}");
                    journal.succeed(0, records.count());
                }
                journal.tell(false);
            }
            Map<String, Long> told = new TreeMap<>();
            ends.forEach((place, end) -> told.put(name(place.topic(), place.partition()), end));
            journal.write("drain", Journal.now(), "ok", "\"door\":" + door + ",\"done\":true,\"ends\":" + Journal.offsets(told) + ",\"reads\":{}");
            stopping = true;
        }
    }

    private void run(String role) throws Exception {
        while (!stopping) {
            session++;
            try {
                switch (role) {
                    case "producer" -> produce();
                    case "member" -> follow();
                    case "drain" -> drain();
                    default -> throw new IllegalArgumentException(role);
                }
            } catch (Exception error) {
                journal.note(error);
                Thread.sleep(300);
            }
        }
        journal.close();
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> config = new HashMap<>();
        for (int index = 1; index < words.length; index++) {
            String[] pair = words[index].split("=", 2);
            config.put(pair[0], pair[1]);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                DONE.await();
            } catch (InterruptedException ignored) {
                Thread.currentThread().interrupt();
            }
        }));
        try {
            new ChaosClient(words[0], config).run(words[0]);
        } finally {
            DONE.countDown();
        }
    }
}
