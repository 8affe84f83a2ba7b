import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** Reads the clocks at half of the events and at their end, and says what was measured as the other readers do. */
final class Clocks {
    private final OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private final long started = System.nanoTime();
    private final long events;
    private long halfCpu;
    private long halfDone;

    Clocks(long events) {
        this.events = events;
    }

    synchronized void look(long done) {
        if (halfDone == 0 && done >= events / 2) {
            halfDone = done;
            halfCpu = system.getProcessCpuTime();
        }
    }

    /** CPU time counts from the start of the Java machine. */
    String end() throws Exception {
        long cpu = system.getProcessCpuTime();
        double seconds = (System.nanoTime() - started) / 1e9;
        long kib = 0;
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                kib = Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        return String.format(
                java.util.Locale.ROOT,
                "\"us\":%.4f,\"all_us\":%.4f,\"events_per_s\":%.1f,\"rss_bytes\":%d}",
                (cpu - halfCpu) / 1e3 / Math.max(1, events - halfDone),
                cpu / 1e3 / events,
                events / seconds,
                kib * 1024);
    }
}
