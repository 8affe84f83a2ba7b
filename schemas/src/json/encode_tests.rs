use super::*;
use crate::codec::Encode as _;
use crate::events::{CampaignChange, CampaignRow, CampaignSource, ImpressionEvent};
use crate::{builtin, codec};

fn schema(name: &str) -> Schema {
    let builtin = builtin().iter().find(|builtin| builtin.name.ends_with(name)).expect("a built-in schema");
    Schema::parse(builtin.avsc).expect("a schema")
}

fn bytes(schema: &Schema, json: &str) -> Result<Vec<u8>, String> {
    let json = serde_json::from_str(json).expect("JSON");
    let mut out = Vec::new();
    encode(schema, &json, &mut out).map(|()| out).map_err(|error| error.to_string())
}

#[test]
fn a_row_as_people_write_it_is_the_event() {
    let countries = ["USA"];
    let after = CampaignRow {
        campaign_id: "c",
        status: crate::events::CampaignStatus::Active,
        width: 300,
        bid_cpm_micros: -1,
        countries: codec::Array::from_slice(&countries),
        destination_domain: Some("shop.example"),
        ..CampaignRow::default()
    };
    let source = CampaignSource { lsn: 7, table: "campaigns", snapshot: "true", ..CampaignSource::default() };
    let event = CampaignChange { after: Some(after), op: "c", ts_ms: 5, source, ..CampaignChange::default() };
    let mut expected = Vec::new();
    event.encode(&mut expected);
    let row = r#"{"campaign_id":"c","advertiser_id":"","name":"","status":"ACTIVE","creative_id":"","width":300,"height":0,
        "bid_cpm_micros":-1,"countries":["USA"],"destination_domain":"shop.example"}"#;
    let source = r#"{"lsn":7,"table":"campaigns","snapshot":"true"}"#;
    let untagged = format!(r#"{{"before":null,"after":{row},"op":"c","ts_ms":5,"source":{source}}}"#);
    let schema = schema("CampaignChange");
    assert_eq!(bytes(&schema, &untagged), Ok(expected.clone()));
    let tagged = format!(
        r#"{{"after":{{"com.platform.events.campaigns.CampaignRow":{row}}},"op":"c","ts_ms":5,"source":{source}}}"#
    );
    assert_eq!(bytes(&schema, &tagged), Ok(expected), "tags, and defaults for what is absent");
}

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let schema = schema("CampaignChange");
    let refused = |json: &str| bytes(&schema, json).expect_err("refused");
    assert_eq!(
        refused("[]"),
        "the value: expected an object with the fields of com.platform.events.campaigns.CampaignChange, found an array"
    );
    assert!(refused(r#"{"opp":"c"}"#).contains("`opp` is no field; there are before, after, op"));
    assert_eq!(refused(r#"{"after":null}"#), "op: is missing and has no default");
    let row = r#"{"campaign_id":"c","advertiser_id":"","name":"","status":"LIVE"}"#;
    assert_eq!(refused(&format!(r#"{{"after":{row}}}"#)), "after.status: `LIVE` is none of PAUSED, ACTIVE, ENDED");
    let row = r#"{"campaign_id":"c","advertiser_id":"","name":"","creative_id":"","status":"ENDED","width":1.5}"#;
    assert_eq!(
        refused(&format!(r#"{{"after":{row}}}"#)),
        "after.width: expected a whole number of 32 bits, found a number with a fraction"
    );
}

#[test]
fn every_type_has_a_notation() {
    let of = |schema: &str, json: &str| bytes(&Schema::parse(schema).expect("a schema"), json);
    assert_eq!(of(r#""null""#, "null"), Ok(vec![]));
    assert_eq!(of(r#""boolean""#, "true"), Ok(vec![1]));
    assert_eq!(of(r#""int""#, "-64"), Ok(vec![127]));
    assert!(of(r#""int""#, "3000000000").is_err() && of(r#""long""#, "1e3").is_err());
    assert_eq!(of(r#""float""#, "1"), Ok(1f32.to_le_bytes().to_vec()));
    assert_eq!(of(r#""double""#, "\"-Infinity\""), Ok(f64::NEG_INFINITY.to_le_bytes().to_vec()));
    assert_eq!(of(r#""bytes""#, "\"\u{ff}\""), Ok(vec![2, 255]));
    assert!(of(r#""bytes""#, "\"\u{100}\"").is_err());
    assert_eq!(of(r#"{"type":"fixed","name":"F","size":2}"#, "\"ab\""), Ok(b"ab".to_vec()));
    assert!(of(r#"{"type":"fixed","name":"F","size":2}"#, "\"a\"").is_err());
    assert_eq!(of(r#"{"type":"array","items":"int"}"#, "[1,2]"), Ok(vec![4, 2, 4, 0]));
    assert_eq!(
        of(r#"{"type":"array","items":"int"}"#, "[1,true]"),
        Err("[1]: expected a whole number of 32 bits, found a boolean".into())
    );
    assert_eq!(of(r#"{"type":"map","values":"int"}"#, "{\"a\":1}"), Ok(vec![2, 2, b'a', 2, 0]));
    assert_eq!(of(r#"["null","string"]"#, "\"a\""), Ok(vec![2, 2, b'a']));
    assert_eq!(of(r#"["null","string"]"#, "{\"string\":\"a\"}"), Ok(vec![2, 2, b'a']));
    assert_eq!(of(r#"["null","string"]"#, "1"), Err("the value: expected string, found a number".into()));
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["R","null"],"default":{}}]}"#;
    if let Ok(schema) = Schema::parse(endless) {
        assert!(bytes(&schema, "{}").is_err(), "nests deeper than allowed");
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let pairs = [("a\"b", "\n"), ("page", "home")];
    let event = ImpressionEvent {
        event_id: "e",
        timestamp: i64::MIN,
        user_id: Some(""),
        win_price_micros: i64::MAX,
        metadata: codec::Map::from_pairs(&pairs),
        ..ImpressionEvent::default()
    };
    let mut datum = Vec::new();
    event.encode(&mut datum);
    let schema = schema("ImpressionEvent");
    let plan = crate::plan::Plan::new(&schema, &schema).expect("a plan");
    let text = super::super::decode(&plan, &datum, &codec::Limits::EVENT).expect("JSON");
    assert_eq!(bytes(&schema, &text), Ok(datum));
}
