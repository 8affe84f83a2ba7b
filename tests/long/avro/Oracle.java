import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.RandomData;

/**
 * What Apache Avro's Java implementation says, a line of JSON for each line of JSON:
 * {reader, writer, data: [hex], seed} in; {reader_error?, writer_error?, canonical, incompatibilities | compat_error,
 * data: [{hex, value | error}]} out. To the data it was given it adds some that it draws and encodes itself.
 */
public class Oracle {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
  private static final HexFormat HEX = HexFormat.of();
  private static final int DRAWN = 4;

  public static void main(String[] arguments) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(JSON.writeValueAsString(answer(JSON.readTree(line))));
      out.flush();
    }
  }

  private static ObjectNode answer(JsonNode question) {
    ObjectNode answer = JSON.createObjectNode();
    Schema reader = parse(question, "reader", answer);
    Schema writer = parse(question, "writer", answer);
    if (reader == null || writer == null) {
      return answer;
    }
    answer.put("canonical", SchemaNormalization.toParsingForm(reader));
    try {
      ArrayNode list = JSON.createArrayNode();
      var result = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult();
      for (SchemaCompatibility.Incompatibility i : result.getIncompatibilities()) {
        list.add(JSON.createObjectNode().put("type", i.getType().name()).put("path", i.getLocation()));
      }
      answer.set("incompatibilities", list);
    } catch (RuntimeException | StackOverflowError e) {
      answer.put("compat_error", e.toString());
    }
    ArrayNode data = answer.putArray("data");
    for (JsonNode hex : question.get("data")) {
      data.add(decoded(HEX.parseHex(hex.asText()), writer, reader));
    }
    try {
      for (Object drawn : new RandomData(writer, DRAWN, question.get("seed").asLong())) {
        data.add(decoded(encoded(drawn, writer, data.size() % 2 == 0), writer, reader));
      }
    } catch (Exception | StackOverflowError e) {
      answer.put("draw_error", e.toString());
    }
    return answer;
  }

  private static Schema parse(JsonNode question, String key, ObjectNode answer) {
    try {
      return new Schema.Parser().parse(question.get(key).asText());
    } catch (RuntimeException | StackOverflowError e) {
      answer.put(key + "_error", e.toString());
      return null;
    }
  }

  /** Sized blocks or plain ones. */
  private static byte[] encoded(Object value, Schema writer, boolean sized) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    BinaryEncoder encoder =
        sized
            ? new EncoderFactory().configureBlockSize(64).blockingBinaryEncoder(bytes, null)
            : EncoderFactory.get().binaryEncoder(bytes, null);
    new GenericDatumWriter<Object>(writer).write(value, encoder);
    encoder.flush();
    return bytes.toByteArray();
  }

  private static ObjectNode decoded(byte[] datum, Schema writer, Schema reader) {
    ObjectNode row = JSON.createObjectNode().put("hex", HEX.formatHex(datum));
    try {
      BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(datum, null);
      Object value = new GenericDatumReader<Object>(writer, reader).read(null, decoder);
      if (!decoder.isEnd()) {
        return row.put("error", "bytes are left");
      }
      row.set("value", json(value, reader));
    } catch (Exception | StackOverflowError e) {
      row.put("error", e.toString());
    }
    return row;
  }

  /** Avro's JSON encoding; decimals as decimal strings. */
  private static JsonNode json(Object value, Schema schema) {
    switch (schema.getType()) {
      case UNION:
        Schema branch = schema.getTypes().get(GenericData.get().resolveUnion(schema, value));
        if (branch.getType() == Schema.Type.NULL) {
          return NODES.nullNode();
        }
        ObjectNode tagged = JSON.createObjectNode();
        tagged.set(branch.getFullName(), json(value, branch));
        return tagged;
      case RECORD:
        ObjectNode fields = JSON.createObjectNode();
        for (Schema.Field f : schema.getFields()) {
          fields.set(f.name(), json(((IndexedRecord) value).get(f.pos()), f.schema()));
        }
        return fields;
      case ARRAY:
        ArrayNode items = JSON.createArrayNode();
        for (Object item : (List<?>) value) {
          items.add(json(item, schema.getElementType()));
        }
        return items;
      case MAP:
        ObjectNode entries = JSON.createObjectNode();
        for (Map.Entry<?, ?> e : ((Map<?, ?>) value).entrySet()) {
          entries.set(e.getKey().toString(), json(e.getValue(), schema.getValueType()));
        }
        return entries;
      case BYTES:
        ByteBuffer buffer = ((ByteBuffer) value).duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return binary(bytes, schema);
      case FIXED:
        return binary(((GenericFixed) value).bytes(), schema);
      case STRING:
      case ENUM:
        return NODES.textNode(value.toString());
      case NULL:
        return NODES.nullNode();
      case BOOLEAN:
        return NODES.booleanNode((Boolean) value);
      default:
        return number((Number) value);
    }
  }

  private static JsonNode binary(byte[] bytes, Schema schema) {
    if (schema.getLogicalType() instanceof LogicalTypes.Decimal decimal) {
      return NODES.textNode(new BigDecimal(new BigInteger(bytes), decimal.getScale()).toPlainString());
    }
    return NODES.textNode(new String(bytes, StandardCharsets.ISO_8859_1));
  }

  private static JsonNode number(Number value) {
    if (value instanceof Float || value instanceof Double) {
      double wide = value.doubleValue();
      if (Double.isNaN(wide) || Double.isInfinite(wide)) {
        return NODES.textNode(String.valueOf(wide));
      }
      return NODES.numberNode(wide);
    }
    return NODES.numberNode(value.longValue());
  }
}
