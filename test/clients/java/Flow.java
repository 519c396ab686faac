/* Flow.java KAFKA TOPIC PARTITIONS RATE PROTOCOL: a producer with the client's defaults at a steady rate and a member of a group, until
 * standard input ends; then the producer is flushed, and the member goes on until it has read as many records as were acknowledged. Prints
 *
 *     sent PARTITION OFFSET NUMBER MILLISECONDS     when a record was acknowledged, and how long that took
 *     failed NUMBER WHY
 *     got PARTITION OFFSET NUMBER
 *     broken WHY                                    when the member's thread ended by an exception
 */
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Flow {
    private static final long PATIENCE_MS = 30_000;
    private static volatile boolean stopping;
    private static volatile boolean flushed;
    private static final AtomicLong acknowledged = new AtomicLong();

    private Flow() {
    }

    private static synchronized void say(String line) {
        System.out.println(line);
    }

    private static void awaitOrder() {
        try {
            while (System.in.read() >= 0) {
                continue;
            }
        } catch (IOException broken) {
            System.err.println(broken);
        }
        stopping = true;
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, int partitions, long number) {
        byte[] value = Long.toString(number).getBytes(StandardCharsets.US_ASCII);
        long began = System.nanoTime();
        producer.send(new ProducerRecord<>(topic, (int) (number % partitions), null, value), (metadata, failure) -> {
            if (failure != null) {
                say("failed " + number + " " + failure);
            } else {
                acknowledged.incrementAndGet();
                say("sent " + metadata.partition() + " " + metadata.offset() + " " + number + " " + (System.nanoTime() - began) / 1_000_000);
            }
        });
    }

    private static void produce(String[] words) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", words[0]);
        int partitions = Integer.parseInt(words[2]);
        long pause = 1_000_000_000L / Integer.parseInt(words[3]);
        try (KafkaProducer<byte[], byte[]> producer =
                 new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            long due = System.nanoTime();
            for (long number = 0; !stopping; number++) {
                send(producer, words[1], partitions, number);
                due += pause;
                LockSupport.parkNanos(due - System.nanoTime());
            }
            producer.flush();
        }
        flushed = true;
    }

    private static void tell(ConsumerRecord<byte[], byte[]> record) {
        say("got " + record.partition() + " " + record.offset() + " " + new String(record.value(), StandardCharsets.US_ASCII));
    }

    private static void consume(String[] words) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", words[0]);
        properties.put("group.id", words[1]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("group.protocol", words[4]);
        long got = 0;
        long left = PATIENCE_MS;
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(words[1]));
            while (!flushed || (got < acknowledged.get() && left > 0)) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                records.forEach(Flow::tell);
                got += records.count();
                left -= flushed ? 100 : 0;
                if (!records.isEmpty()) {
                    consumer.commitSync();
                }
            }
        } catch (RuntimeException failure) {
            say("broken " + failure);
        }
    }

    public static void main(String[] words) throws InterruptedException {
        Thread order = new Thread(Flow::awaitOrder);
        order.setDaemon(true);
        order.start();
        Thread consumer = new Thread(() -> consume(words));
        consumer.start();
        produce(words);
        consumer.join();
        System.out.flush();
    }
}
