/* Client.java produce|consume|admin KAFKA TOPIC PARTITION CODEC|COUNT: Apache Kafka's own client, as idempotent as it is by
 * default, with lines as in line.py. */
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Client {
    private static final long PATIENCE_MS = 60_000;

    private Client() {
    }

    private static byte[] decode(String word) {
        return word.equals("-") ? null : Base64.getDecoder().decode(word.substring(1));
    }

    private static String encode(byte[] bytes) {
        return bytes == null ? "-" : "=" + Base64.getEncoder().encodeToString(bytes);
    }

    private static Properties connectTo(String kafka) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", kafka);
        return properties;
    }

    private static ProducerRecord<byte[], byte[]> parse(String line, String topic, int partition) {
        String[] words = line.split(" ");
        ProducerRecord<byte[], byte[]> record =
            new ProducerRecord<>(topic, partition, Long.parseLong(words[2]), decode(words[0]), decode(words[1]));
        if (!words[3].equals("-")) {
            for (String pair : words[3].split(",")) {
                String[] header = pair.split(":");
                record.headers().add(new String(decode(header[0]), StandardCharsets.UTF_8), decode(header[1]));
            }
        }
        return record;
    }

    private static void produce(String kafka, String topic, int partition, String codec) throws Exception {
        Properties properties = connectTo(kafka);
        properties.put("compression.type", codec);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        try (KafkaProducer<byte[], byte[]> producer =
                 new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                sent.add(producer.send(parse(line, topic, partition)));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    private static String format(ConsumerRecord<byte[], byte[]> record) {
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(encode(header.key().getBytes(StandardCharsets.UTF_8)) + ":" + encode(header.value()));
        }
        return record.offset() + " " + encode(record.key()) + " " + encode(record.value()) + " " + record.timestamp() + " "
            + (headers.isEmpty() ? "-" : String.join(",", headers));
    }

    private static void consume(String kafka, String topic, int partition, int count) {
        Properties properties = connectTo(kafka);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        TopicPartition place = new TopicPartition(topic, partition);
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(Set.of(place));
            consumer.seekToBeginning(Set.of(place));
            int seen = 0;
            while (seen < count && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    System.out.println(format(record));
                    seen++;
                }
            }
            System.out.println("end " + consumer.endOffsets(Set.of(place)).get(place));
        }
    }

    /* A topic's life through the admin client; prints what it saw. */
    private static void admin(String kafka, String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = Admin.create(connectTo(kafka))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "123456789")))).all().get();
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            waitForPartitions(admin, topic, 5);
            System.out.println("partitions " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            System.out.println("retention " + config.get("retention.ms").value());
            TopicPartition place = new TopicPartition(topic, 4);
            System.out.println("latest " + admin.listOffsets(Map.of(place, OffsetSpec.latest())).all().get().get(place).offset());
            System.out.println("nodes " + admin.describeCluster().nodes().get().size());
            System.out.println("cluster " + admin.describeCluster().clusterId().get());
            admin.deleteTopics(List.of(topic)).all().get();
            System.out.println("listed " + admin.listTopics().names().get().contains(topic));
        }
    }

    private static void waitForPartitions(Admin admin, String topic, int count) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() != count) {
            if (System.currentTimeMillis() > deadline) {
                throw new IOException("the partitions do not appear");
            }
            Thread.sleep(50);
        }
        Thread.sleep(200);
    }

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "produce" -> produce(words[1], words[2], Integer.parseInt(words[3]), words[4]);
            case "consume" -> consume(words[1], words[2], Integer.parseInt(words[3]), Integer.parseInt(words[4]));
            case "admin" -> admin(words[1], words[2]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }
}
