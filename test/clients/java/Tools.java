/* Tools.java: runs Kafka's command-line tools one after another in one JVM, since starting one takes longer than most of them.
 *
 * A line in: the class, then its arguments as =base64. A line out: the exit status, then all that it printed as =base64. */
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import org.apache.kafka.common.utils.Exit;

public final class Tools {
    private static final ByteArrayOutputStream PRINTED = new ByteArrayOutputStream();
    private static Integer exitStatus;
    private static int printedAtExit;

    private Tools() {
    }

    /* Takes the place of the JVM's end. */
    private static final class Exited extends Error {
        private static final long serialVersionUID = 1;
    }

    /* Scala keeps the stream that it found first, so there is one for all tools. */
    private static OutputStream printed() {
        return new OutputStream() {
            @Override
            public void write(int octet) {
                PRINTED.write(octet);
            }

            @Override
            public void write(byte[] octets, int from, int count) {
                PRINTED.write(octets, from, count);
            }
        };
    }

    private static void exit(int status, String message) {
        if (exitStatus == null) {
            if (message != null) {
                System.err.println(message);
            }
            exitStatus = status;
            printedAtExit = PRINTED.size();
        }
        throw new Exited();
    }

    /* Tools that catch whatever is thrown go on after their exit; what they print from there on, none of it would have come. */
    private static byte[] printedBeforeExit() {
        return exitStatus == null ? PRINTED.toByteArray() : Arrays.copyOf(PRINTED.toByteArray(), printedAtExit);
    }

    private static int run(String tool, String[] arguments) throws ReflectiveOperationException {
        exitStatus = null;
        PRINTED.reset();
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException failure) {
            if (!(failure.getCause() instanceof Exited)) {
                failure.getCause().printStackTrace();
                return 1;
            }
        }
        return exitStatus == null ? 0 : exitStatus;
    }

    private static String decode(String word) {
        return new String(Base64.getDecoder().decode(word.substring(1)), StandardCharsets.UTF_8);
    }

    public static void main(String[] words) throws IOException, ReflectiveOperationException {
        PrintStream answers = System.out;
        PrintStream both = new PrintStream(printed(), true, StandardCharsets.UTF_8);
        System.setOut(both);
        System.setErr(both);
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            int status = run(parts[0], Arrays.stream(parts).skip(1).map(Tools::decode).toArray(String[]::new));
            both.flush();
            answers.println(status + " =" + Base64.getEncoder().encodeToString(printedBeforeExit()));
            answers.flush();
        }
    }
}
