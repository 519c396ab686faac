/* Member.java KAFKA TOPIC GROUP PROTOCOL [INSTANCE]: a member of a consumer group, as members.py describes it. */
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Member {
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", "org.apache.kafka.clients.consumer.RangeAssignor",
        "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    private static volatile boolean leaving;

    private Member() {
    }

    private static Properties configure(String[] words) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", words[0]);
        properties.put("group.id", words[2]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        if (words[3].equals("consumer")) {
            properties.put("group.protocol", "consumer");
        } else {
            properties.put("partition.assignment.strategy", ASSIGNORS.get(words[3]));
        }
        if (words.length > 4) {
            properties.put("group.instance.id", words[4]);
        }
        return properties;
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static ConsumerRebalanceListener teller(KafkaConsumer<byte[], byte[]> consumer) {
        return new ConsumerRebalanceListener() {
            private void tell(List<TopicPartition> held) {
                say("assigned " + held.stream().map(TopicPartition::partition).sorted().map(String::valueOf).collect(Collectors.joining(",")));
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                List<TopicPartition> left = new ArrayList<>(consumer.assignment());
                left.removeAll(revoked);
                tell(left);
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> added) {
                tell(new ArrayList<>(consumer.assignment()));
            }
        };
    }

    /* The end of standard input is the order to leave. */
    private static void awaitOrder() {
        try {
            while (System.in.read() >= 0) {
                continue;
            }
        } catch (IOException broken) {
            System.err.println(broken);
        }
        leaving = true;
    }

    private static void tell(ConsumerRecord<byte[], byte[]> record) {
        say("record " + record.partition() + " " + record.offset() + " =" + Base64.getEncoder().encodeToString(record.value()));
    }

    public static void main(String[] words) {
        Thread order = new Thread(Member::awaitOrder);
        order.setDaemon(true);
        order.start();
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(configure(words), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(words[1]), teller(consumer));
            while (!leaving) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                records.forEach(Member::tell);
                if (!records.isEmpty()) {
                    consumer.commitSync();
                }
            }
        }
        say("closed");
    }
}
