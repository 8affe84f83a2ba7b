import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.WindowStore;

/** The same on Kafka Streams: RocksDB, at least once, 24 h of grace; campaign and price alone go through the repartition. */
public final class MinutesStreams {
    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[2]);
        Clocks clocks = new Clocks(events);
        Schema schema = Decoder.schema(arguments[3]);
        ThreadLocal<Decoder> decoders = ThreadLocal.withInitial(() -> new Decoder(schema));
        AtomicLong done = new AtomicLong();
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("application.id", arguments[1] + "-streams");
        settings.put("state.dir", arguments[4] + "-" + ProcessHandle.current().pid());
        settings.put("num.stream.threads", "2");
        settings.put("auto.offset.reset", "earliest");
        Duration grace = Duration.ofHours(24);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .map((key, value) -> {
                    try {
                        GenericRecord event = decoders.get().read(value);
                        return KeyValue.pair(event.get("campaign_id").toString(), (Long) event.get("win_price_micros"));
                    } catch (Exception error) {
                        throw new IllegalStateException(error);
                    }
                })
                .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), grace))
                .aggregate(
                        () -> new byte[16],
                        (campaign, price, row) -> {
                            ByteBuffer old = ByteBuffer.wrap(row);
                            clocks.look(done.incrementAndGet());
                            return ByteBuffer.allocate(16).putLong(old.getLong() + 1).putLong(old.getLong() + price).array();
                        },
                        Materialized.<String, byte[], WindowStore<Bytes, byte[]>>as("minutes")
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Serdes.ByteArray())
                                .withRetention(grace.plusMinutes(1)));
        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings)) {
            streams.start();
            while (done.get() < events) {
                Thread.sleep(5);
                if (streams.state() == KafkaStreams.State.ERROR) {
                    throw new IllegalStateException("the stream ended");
                }
            }
            String measured = clocks.end();
            long count = 0;
            long micros = 0;
            var store = streams.store(StoreQueryParameters.fromNameAndType("minutes", QueryableStoreTypes.<String, byte[]>windowStore()));
            try (var rows = store.all()) {
                while (rows.hasNext()) {
                    ByteBuffer row = ByteBuffer.wrap(rows.next().value);
                    count += row.getLong();
                    micros += row.getLong();
                }
            }
            System.out.println("{\"count\":" + count + ",\"micros\":" + micros + "," + measured);
            streams.close(Duration.ofSeconds(10));
            streams.cleanUp();
        }
    }
}
