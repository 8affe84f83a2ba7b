import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Count and sum by campaign and minute: KafkaConsumer, GenericDatumReader, a HashMap; nothing durable. */
public final class Minutes {
    private record Key(String campaign, long minute) {}

    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[2]);
        Clocks clocks = new Clocks(events);
        Decoder decoder = new Decoder(Decoder.schema(arguments[3]));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", "bench-java");
        settings.put("auto.offset.reset", "earliest");
        settings.put("max.poll.records", "10000");
        settings.put("fetch.min.bytes", "65536");
        Map<Key, long[]> minutes = new HashMap<>();
        long done = 0;
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(arguments[1]).forEach(p -> partitions.add(new TopicPartition(p.topic(), p.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (done < events) {
                for (ConsumerRecord<byte[], byte[]> message : consumer.poll(Duration.ofSeconds(10))) {
                    GenericRecord event = decoder.read(message.value());
                    long timestamp = (Long) event.get("timestamp");
                    Key key = new Key(event.get("campaign_id").toString(), timestamp - Math.floorMod(timestamp, 60_000L));
                    long[] row = minutes.computeIfAbsent(key, k -> new long[2]);
                    row[0]++;
                    row[1] += (Long) event.get("win_price_micros");
                    done++;
                }
                clocks.look(done);
            }
        }
        String measured = clocks.end();
        long count = 0;
        long micros = 0;
        for (long[] row : minutes.values()) {
            count += row[0];
            micros += row[1];
        }
        System.out.println("{\"count\":" + count + ",\"micros\":" + micros + "," + measured);
    }
}
