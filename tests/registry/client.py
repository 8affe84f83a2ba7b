"""Confluent's Python client against a registry: every call that its serializers and tools make."""

import json
import sys

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

client = SchemaRegistryClient({"url": sys.argv[1]})


def visit(*more):
    fields = [{"name": "id", "type": "string"}, {"name": "cost", "type": "long"}, *more]
    return json.dumps({"type": "record", "name": "Visit", "namespace": "shop", "fields": fields})


def refused(status, code, call):
    try:
        call()
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (status, code), error
        return
    raise AssertionError(f"{code} was expected")


v1, v2 = visit(), visit({"name": "page", "type": "string", "default": "home"})
assert client.get_subjects() == []
refused(404, 40401, lambda: client.get_versions("visits-value"))

# A serializer registers by itself and frames with the id that it got.
context = SerializationContext("visits", MessageField.VALUE)
written = AvroSerializer(client, v1)({"id": "a", "cost": 7}, context)
first = client.get_latest_version("visits-value")
assert written[0] == 0 and int.from_bytes(written[1:5], "big") == first.schema_id
assert first.version == 1 and json.loads(first.schema.schema_str) == json.loads(v1)

# A reader with a newer schema finds the writer's by its id.
read = AvroDeserializer(client, v2)(written, context)
assert read == {"id": "a", "cost": 7, "page": "home"}, read

second = client.register_schema("visits-value", Schema(v2, "AVRO"))
assert client.register_schema("visits-value", Schema(v2, "AVRO"), normalize_schemas=True) > 0
assert client.get_versions("visits-value")[:2] == [1, 2]
assert client.lookup_schema("visits-value", Schema(v2, "AVRO")).schema_id == second
assert json.loads(client.get_schema(second).schema_str) == json.loads(v2)
assert client.get_version("visits-value", 1).schema_id == first.schema_id

# Compatibility
must = Schema(visit({"name": "must", "type": "string"}), "AVRO")
assert not client.test_compatibility("visits-value", must)
refused(409, 409, lambda: client.register_schema("visits-value", must))
assert client.set_compatibility("visits-value", level="FULL_TRANSITIVE")["compatibility"] == "FULL_TRANSITIVE"
assert client.get_compatibility("visits-value") == "FULL_TRANSITIVE"

# References
day = json.dumps({"type": "record", "name": "Day", "fields": [{"name": "first", "type": "shop.Visit"}]})
reference = SchemaReference("shop.Visit", "visits-value", 1)
day_id = client.register_schema("days-value", Schema(day, "AVRO", references=[reference]))
found = client.get_schema(day_id)
assert [r.subject for r in found.references] == ["visits-value"]
nested = AvroSerializer(client, Schema(day, "AVRO", references=[reference]), conf={"auto.register.schemas": False})
framed = nested({"first": {"id": "a", "cost": 1}}, SerializationContext("days", MessageField.VALUE))
again = AvroDeserializer(client)(framed, SerializationContext("days", MessageField.VALUE))
assert again == {"first": {"id": "a", "cost": 1}}, again

# Deletion
refused(422, 42206, lambda: client.delete_subject("visits-value"))
assert client.delete_subject("days-value") == [1]
assert client.delete_subject("days-value", permanent=True) == [1]
assert client.delete_version("visits-value", 2) == 2
assert "visits-value" in client.get_subjects()
print("all calls answered")
