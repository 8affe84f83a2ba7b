//! apache-avro: through `Value`, through serde, with a reader's schema.

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use schemas::{events::ImpressionEvent, frame};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, error::Error};

/// The event as serde wants it: owned.
#[derive(Deserialize, Serialize)]
#[serde(rename = "ImpressionEvent")]
pub struct Owned {
    event_id: String,
    timestamp: i64,
    campaign_id: String,
    creative_id: String,
    placement_id: String,
    user_id: Option<String>,
    bid_price_micros: i64,
    win_price_micros: i64,
    metadata: BTreeMap<String, String>,
}

/// The same for writing, borrowed.
#[derive(Serialize)]
#[serde(rename = "ImpressionEvent")]
struct Borrowed<'a> {
    event_id: &'a str,
    timestamp: i64,
    campaign_id: &'a str,
    creative_id: &'a str,
    placement_id: &'a str,
    user_id: Option<&'a str>,
    bid_price_micros: i64,
    win_price_micros: i64,
    metadata: BTreeMap<&'a str, &'a str>,
}

/// Schemas that live as long as the benchmark.
pub struct Apache {
    same: GenericDatumReader<'static>,
    resolving: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

impl Apache {
    /// Readers and writer for the event and its older version.
    pub fn new(event: &str, older: &str) -> Result<Self, Box<dyn Error>> {
        let event: &'static Schema = Box::leak(Box::new(Schema::parse_str(event)?));
        let older: &'static Schema = Box::leak(Box::new(Schema::parse_str(older)?));
        Ok(Self {
            same: GenericDatumReader::builder(event).build()?,
            resolving: GenericDatumReader::builder(older).reader_schema(event).build()?,
            writer: GenericDatumWriter::builder(event).build()?,
        })
    }

    /// Decodes to a `Value`.
    pub fn value(&self, message: &[u8]) -> Option<Value> {
        self.same.read_value(&mut frame::split(message).ok()?.1).ok()
    }

    /// Decodes to a struct.
    pub fn serde(&self, message: &[u8]) -> Option<Owned> {
        self.same.read_deser(&mut frame::split(message).ok()?.1).ok()
    }

    /// Decodes the older version to a `Value` of the newer.
    pub fn resolved(&self, message: &[u8]) -> Option<Value> {
        self.resolving.read_value(&mut frame::split(message).ok()?.1).ok()
    }

    /// Encodes from a struct, framed.
    pub fn encode(&self, event: &ImpressionEvent<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0, 0, 0, 1]);
        let borrowed = Borrowed {
            event_id: event.event_id,
            timestamp: event.timestamp,
            campaign_id: event.campaign_id,
            creative_id: event.creative_id,
            placement_id: event.placement_id,
            user_id: event.user_id,
            bid_price_micros: event.bid_price_micros,
            win_price_micros: event.win_price_micros,
            metadata: event.metadata.iter().collect(),
        };
        if self.writer.write_ser(out, &borrowed).is_err() {
            out.clear();
        }
    }
}
