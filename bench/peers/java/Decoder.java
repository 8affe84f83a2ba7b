import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** A framed impression into a record that is used again. One a thread. */
final class Decoder {
    private static final int FRAME_BYTES = 5;
    private final GenericDatumReader<GenericRecord> reader;
    private BinaryDecoder decoder;
    private GenericRecord record;

    Decoder(Schema schema) {
        reader = new GenericDatumReader<>(schema);
    }

    static Schema schema(String file) throws Exception {
        return new Schema.Parser().parse(Files.readString(Path.of(file)));
    }

    GenericRecord read(byte[] value) throws Exception {
        if (ByteBuffer.wrap(value).get() != 0) {
            throw new IllegalStateException("no frame");
        }
        decoder = DecoderFactory.get().binaryDecoder(value, FRAME_BYTES, value.length - FRAME_BYTES, decoder);
        record = reader.read(record, decoder);
        return record;
    }
}
