/* Journal.java: a process's file of operations, and its progress, in the form that history.py describes. */
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.zip.CRC32;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

final class Journal implements AutoCloseable {
    private static final long TELL_EVERY_NS = 500_000_000L;

    private final String process;
    private final String client;
    private final Path folder;
    private final Writer file;
    private long acknowledged;
    private long read;
    private long operations;
    private long succeededNs = now();
    private long toldNs = now();

    Journal(Path folder, String process, String client) throws IOException {
        this.folder = folder;
        this.process = process;
        this.client = client;
        this.file = Files.newBufferedWriter(folder.resolve(process + ".jsonl"), StandardCharsets.UTF_8);
    }

    /* CLOCK_MONOTONIC, which is what nanoTime() is on Linux. */
    static long now() {
        return System.nanoTime();
    }

    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                quoted.append('\\').append(letter);
            } else {
                quoted.append(letter < ' ' ? ' ' : letter);
            }
        }
        return quoted.append('"').toString();
    }

    private static String checksum(byte[] data) {
        if (data == null) {
            return "-";
        }
        CRC32 crc = new CRC32();
        crc.update(data);
        return String.format("%04x", crc.getValue() & 0xffff);
    }

    private static byte[] flatten(Headers headers) {
        java.io.ByteArrayOutputStream bytes = new java.io.ByteArrayOutputStream();
        for (Header header : headers) {
            bytes.writeBytes(header.key().getBytes(StandardCharsets.UTF_8));
            if (header.value() != null) {
                bytes.write('=');
                bytes.writeBytes(header.value());
            }
            bytes.write('\n');
        }
        return bytes.toByteArray();
    }

    static String digest(byte[] key, byte[] value, Headers headers, long timestamp) {
        byte[] time = Long.toString(timestamp).getBytes(StandardCharsets.US_ASCII);
        return String.join(".", checksum(key), checksum(value), checksum(flatten(headers)), checksum(time));
    }

    static String identity(byte[] value) {
        String[] words = new String(value, 0, Math.min(80, value.length), StandardCharsets.ISO_8859_1).split(":", 3);
        return words.length == 3 ? words[0] + ":" + words[1] : "?" + words[0];
    }

    private static String seen(ConsumerRecord<byte[], byte[]> record) {
        return "[" + record.offset() + "," + quote(identity(record.value())) + ","
            + quote(digest(record.key(), record.value(), record.headers(), record.timestamp())) + "]";
    }

    /* {"place": [record, …]} of some records of one partition. */
    static String reads(String place, List<ConsumerRecord<byte[], byte[]>> records) {
        return quote(place) + ":" + records.stream().map(Journal::seen).collect(Collectors.joining(",", "[", "]"));
    }

    static String offsets(Map<String, Long> offsets) {
        return offsets.entrySet().stream().map(entry -> quote(entry.getKey()) + ":" + entry.getValue()).collect(Collectors.joining(",", "{", "}"));
    }

    /* more: further fields, as JSON without braces. Callbacks come from threads of the client's. */
    synchronized void write(String op, long startNs, String outcome, String more) {
        try {
            file.write("{\"process\":" + quote(process) + ",\"client\":" + quote(client) + ",\"op\":" + quote(op) + ",\"start_ns\":" + startNs
                + ",\"end_ns\":" + now() + ",\"outcome\":" + quote(outcome) + (more.isEmpty() ? "" : "," + more) + "}\n");
            file.flush();
        } catch (IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    void note(Throwable error) {
        write("note", now(), "ok", "\"text\":" + quote(String.valueOf(error)));
    }

    synchronized void succeed(long acknowledgedMore, long readMore) {
        acknowledged += acknowledgedMore;
        read += readMore;
        succeededNs = now();
    }

    synchronized void tell(boolean force) throws IOException {
        operations++;
        if (!force && now() - toldNs < TELL_EVERY_NS) {
            return;
        }
        toldNs = now();
        Path unfinished = folder.resolve(process + ".new");
        Files.writeString(unfinished, "{\"operations\":" + operations + ",\"acknowledged\":" + acknowledged + ",\"read\":" + read
            + ",\"succeeded_ns\":" + succeededNs + ",\"positions\":{}}");
        Files.move(unfinished, folder.resolve(process + ".progress"), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    }

    @Override
    public void close() throws IOException {
        tell(true);
        write("end", now(), "ok", "");
        file.close();
    }
}
