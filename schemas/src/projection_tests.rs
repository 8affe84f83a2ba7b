//! Projections against the typed decoder and against defaults.

use super::*;
use crate::{
    codec::{Encode, Map},
    events::{CampaignChange, CampaignSource, ImpressionEvent},
};

fn plan(writer: &str, reader: &str) -> Plan {
    Plan::new(&Schema::parse(writer).unwrap(), &Schema::parse(reader).unwrap()).unwrap()
}

fn builtin(name: &str) -> &'static str {
    crate::builtin().iter().find(|b| b.name.ends_with(name)).unwrap().avsc
}

fn impression() -> (ImpressionEvent<'static>, Vec<u8>) {
    let event = ImpressionEvent {
        event_id: "e",
        timestamp: 1_700_000_000_000,
        campaign_id: "camp",
        creative_id: "cr",
        placement_id: "p",
        user_id: Some("u"),
        bid_price_micros: 7,
        win_price_micros: -5,
        metadata: Map::from_pairs(&[("a", "b")]),
    };
    let mut datum = Vec::new();
    event.encode(&mut datum);
    (event, datum)
}

#[test]
fn wanted_fields_are_those_of_the_whole() {
    let (event, datum) = impression();
    let avsc = builtin(".ImpressionEvent");
    let projection = Projection::new(plan(avsc, avsc), &["win_price_micros", "campaign_id", "user_id", "timestamp"]);
    let projection = projection.unwrap();
    let mut slots = [Slot::Null; 4];
    projection.decode(&datum, &Limits::EVENT, &mut slots).unwrap();
    let expected = [
        Slot::Long(event.win_price_micros),
        Slot::Text(event.campaign_id),
        Slot::Text("u"),
        Slot::Long(event.timestamp),
    ];
    assert_eq!(slots, expected);
    // What is not wanted is checked: every prefix, a byte more, and bad text in the last map value.
    for cut in 0..datum.len() {
        assert!(projection.decode(&datum[..cut], &Limits::EVENT, &mut slots).is_err());
    }
    let mut bad = datum.clone();
    let last = bad.len() - 2;
    bad[last] = 0xff;
    let error = projection.decode(&bad, &Limits::EVENT, &mut slots).unwrap_err();
    assert_eq!((error.kind(), error.byte), ("utf8", last));
    let longer = [&datum[..], &[0]].concat();
    let mut slots = [Slot::Null; 4];
    assert_eq!(projection.decode(&longer, &Limits::EVENT, &mut slots).unwrap_err().kind(), "trailing_bytes");
}

#[test]
fn paths_lead_into_records() {
    let source = CampaignSource { lsn: 99, table: "t", ..Default::default() };
    let mut datum = Vec::new();
    CampaignChange { op: "u", source, ..Default::default() }.encode(&mut datum);
    let avsc = builtin(".CampaignChange");
    let projection = Projection::new(plan(avsc, avsc), &["source.table", "op", "source.lsn"]).unwrap();
    let mut slots = [Slot::Null; 3];
    projection.decode(&datum, &Limits::EVENT, &mut slots).unwrap();
    assert_eq!(slots, [Slot::Text("t"), Slot::Text("u"), Slot::Long(99)]);
    let error = |path| Projection::new(plan(avsc, avsc), &[path]).unwrap_err();
    assert_eq!(error("source").kind(), "projection_not_scalar");
    assert_eq!(error("metadata").kind(), "projection_not_scalar");
    let twice = Projection::new(plan(avsc, avsc), &["op", "op"]).unwrap_err();
    assert_eq!(twice.kind(), "projection_twice");
    assert!(error("source.lsm").to_string().contains("lsn"));
}

#[test]
fn other_writers_are_resolved() {
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"z","type":"string"},{"name":"old","type":"int"},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}}]}"#;
    let reader = r#"{"type":"record","name":"R","fields":[{"name":"new","aliases":["old"],"type":["null","double"]},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["X","A"],"default":"X"}},
        {"name":"i","type":{"type":"record","name":"I","fields":[{"name":"s","type":["null","string"],"default":null},{"name":"n","type":"long"}]},"default":{"n":4}},
        {"name":"b","type":"bytes","default":"\u00ff"}]}"#;
    let projection = Projection::new(plan(writer, reader), &["new", "e", "i.n", "i.s", "b"]).unwrap();
    let mut slots = [Slot::Boolean(true); 5];
    projection.decode(b"\x02z\x06\x02", &Limits::EVENT, &mut slots).unwrap();
    assert_eq!(slots, [Slot::Double(3.0), Slot::Text("X"), Slot::Long(4), Slot::Null, Slot::Bytes(&[0xff])]);
}
