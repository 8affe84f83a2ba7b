use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testdata;

fn parse_json(value: &Value) -> Result<(), Rejected> {
    parse(value.to_string().as_bytes()).map(|_| ())
}

fn kind_of(line: &str) -> &'static str {
    parse(line.as_bytes()).expect_err(line).kind()
}

#[test]
fn reads_the_fields_that_decisions_use() {
    let line = br#" {"id":"a\u00e9","at":1,"tmax":80,"cur":["EUR","USD"],"badv":["x.com",5],"test":1,
        "imp":[{"id":"7","banner":{"format":[{"w":300,"h":250},{"w":728}],"w":1,"h":1},"bidfloor":2.5,"tagid":"top","instl":1}],
        "site":{"id":"s","domain":"example.org","publisher":{"id":"p"}},"device":{"ua":"U","ip":"192.0.2.9","geo":{"country":"USA"}},
        "user":{"id":"u"},"ext":{"exchange":"x","ts_us":12},"source":{"deep":[[[]]]}}"#;
    let request = parse(line).expect("valid");
    assert_eq!(request.id, "aé");
    assert_eq!((request.auction_type, request.tmax_ms, request.test), (AuctionType::FirstPrice, 80, true));
    assert_eq!(request.assumed, Assumed::default());
    assert_eq!((request.cur.len(), request.badv.len()), (2, 1));
    let imp = &request.imp[0];
    assert_eq!(imp.bidfloor, Price::Valid(Cpm(2_500_000)));
    assert_eq!(imp.sizes().collect::<Vec<_>>(), [(300, 250)]);
    assert_eq!(request.placement_id(imp), "x:p:top");
    assert_eq!((request.user_id(), request.country(), request.domain()), (Some("u"), Some("USA"), Some("example.org")));
    assert_eq!(request.network().map(|n| n.to_string()).as_deref(), Some("192.0.2.0"));
    assert_eq!(request.ext.ts_us, Some(12));
}

#[test]
fn missing_facts_are_set_and_said_so() {
    let request = parse(br#"{"id":"a","imp":[{}],"at":3,"tmax":-1}"#).expect("valid");
    assert_eq!(request.assumed, Assumed { at: true, tmax: true, cur: true });
    assert_eq!((request.auction_type, request.tmax_ms), (AuctionType::SecondPrice, TMAX_DEFAULT_MS));
    assert_eq!(request.cur, ["USD"]);
    assert_eq!(request.imp[0].id.as_deref(), Some("1"));
    assert_eq!((request.exchange(), request.site_absent()), ("unknown", true));
    assert_eq!(request.placement_id(&request.imp[0]), "unknown:unknown:unsized");
}

#[test]
fn rejects_what_is_no_request_and_says_where() {
    assert_eq!(kind_of("[1]"), "not_an_object");
    assert_eq!(kind_of("42"), "not_an_object");
    assert_eq!(kind_of(""), "syntax");
    assert_eq!(kind_of("{\"id\":"), "syntax");
    assert_eq!(kind_of(r#"{"imp":[{}]}"#), "id_missing");
    assert_eq!(kind_of(r#"{"id":null,"imp":[{}]}"#), "id_missing");
    assert_eq!(kind_of(r#"{"id":7,"imp":[{}]}"#), "id_invalid");
    assert_eq!(kind_of(r#"{"id":"","imp":[{}]}"#), "id_invalid");
    assert_eq!(kind_of(r#"{"id":"a"}"#), "imp_missing");
    assert_eq!(kind_of(r#"{"id":"a","imp":[]}"#), "imp_missing");
    assert_eq!(kind_of(r#"{"id":"a","imp":{"id":"1"}}"#), "imp_missing");
    assert_eq!(kind_of(r#"{"id":"a","imp":[1,null]}"#), "imp_missing");
    assert_eq!(kind_of(r#"{"id":"a","id":"b","imp":[{}]}"#), "syntax");
    let error = parse(b"{\"id\":\"a\",}").expect_err("trailing comma");
    assert_eq!((error.kind(), error.byte), ("syntax", Some(10)), "{error}");
    let error = parse(b"{\"id\":\"\xff\"}").expect_err("bytes");
    assert_eq!((error.kind(), error.byte), ("not_utf8", Some(7)), "{error}");
    assert!(parse(br#"{"id":7,"imp":[{}]}"#).expect_err("number").message.contains("found 7"));
}

#[test]
fn limits_hold() {
    let long = format!(r#"{{"id":"a","imp":[{{}}],"x":"{}"}}"#, "y".repeat(REQUEST_MAX_BYTES));
    assert_eq!(kind_of(&long), "too_long");
    let id = "i".repeat(ID_MAX_BYTES + 1);
    assert_eq!(parse_json(&json!({"id": id, "imp": [{}]})).expect_err("id").kind(), "id_invalid");
    let many = vec![json!({}); LIST_MAX + 5];
    let line = json!({"id": "a", "imp": many}).to_string();
    assert_eq!(parse(line.as_bytes()).expect("valid").imp.len(), LIST_MAX);
    // Deep nesting costs no stack: an unknown field is skipped, one of ours is of a wrong type or too deep, never a crash.
    for field in ["zzz", "device", "imp", "badv"] {
        let deep = format!(r#"{{"id":"a","{field}":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
        assert!(parse(deep.as_bytes()).is_err(), "{field}: no imp");
    }
    let deep = format!(r#"{{"id":"a","imp":[{{}}],"zzz":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert!(parse(deep.as_bytes()).is_ok());
}

#[test]
fn a_wrong_type_costs_the_field_and_not_the_request() {
    let line = br#"{"id":"a","imp":[{"banner":7,"bidfloor":1,"tagid":9,"video":null}],"site":[],"device":{"ua":5,"ip":"x","geo":"?","lmt":"1"},
        "user":"u","badv":"none","cur":{},"ext":3,"at":"2","test":"1"}"#;
    let request = parse(line).expect("valid");
    assert_eq!(request.imp[0].banner, None);
    assert_eq!((request.device.ua.as_deref(), request.network(), request.user_id()), (None, None, None));
    assert!(
        request.badv.is_empty() && request.assumed.cur && request.assumed.at && !request.test && !request.imp[0].video
    );
    let surrogate = parse(br#"{"id":"a","imp":[{}],"device":{"ua":"\ud800"}}"#).expect("valid");
    assert_eq!(surrogate.device.ua, None);
}

#[test]
fn a_floor_that_is_no_price_is_never_read_as_no_floor() {
    let floor = |raw: &str| {
        let line = format!(r#"{{"id":"a","imp":[{{"bidfloor":{raw}}}]}}"#);
        parse(line.as_bytes()).expect("valid").imp[0].bidfloor
    };
    assert_eq!(floor("0"), Price::Valid(Cpm(0)));
    assert_eq!(floor("null"), Price::Absent);
    assert_eq!(floor("-0.01"), Price::Invalid(PriceError::Negative));
    assert_eq!(floor("\"0.5\""), Price::Invalid(PriceError::NotANumber));
    assert_eq!(floor("1e999"), Price::Invalid(PriceError::NotANumber));
    assert_eq!(floor("1249995.0"), Price::Invalid(PriceError::Implausible));
}

#[test]
fn user_ids_are_withheld_where_the_request_says_so() {
    let with = |extra: &str| {
        let line = format!(r#"{{"id":"a","imp":[{{}}],"user":{{"id":"u"}}{extra}}}"#);
        parse(line.as_bytes()).expect("valid").user_id().map(str::to_owned)
    };
    assert_eq!(with("").as_deref(), Some("u"));
    assert_eq!(with(r#","regs":{"coppa":1}"#), None);
    assert_eq!(with(r#","device":{"lmt":1}"#), None);
    assert_eq!(with(r#","device":{"dnt":true}"#), None);
    assert_eq!(with(r#","regs":{"gdpr":1}"#), None);
}

#[test]
fn every_recorded_request_is_valid_and_agrees_with_a_plain_reading() {
    let Some(lines) = testdata::recorded_requests() else { return };
    for line in &lines {
        let request = parse(line).expect("recorded request");
        let plain: Value = serde_json::from_slice(line).expect("plain reading");
        let text = |pointer: &str| plain.pointer(pointer).and_then(Value::as_str);
        assert_eq!(Some(request.id.as_ref()), text("/id"));
        assert_eq!(request.user_id(), text("/user/id"));
        assert_eq!(request.domain(), text("/site/domain"));
        assert_eq!(request.device.ua.as_deref(), text("/device/ua"));
        assert_eq!(request.country(), text("/device/geo/country"));
        assert_eq!(request.network().map(|n| n.to_string()).as_deref(), text("/device/ip"));
        assert_eq!(request.ext.ts_us, plain.pointer("/ext/ts_us").and_then(Value::as_i64));
        assert_eq!(request.badv.len(), plain["badv"].as_array().map_or(0, Vec::len));
        assert_eq!(request.imp[0].sizes().count(), plain["imp"][0]["banner"]["format"].as_array().map_or(0, Vec::len));
    }
}

#[test]
fn samples_of_many_exchanges_parse_exactly_where_they_are_valid() {
    for name in ["rtb/exchange_samples.jsonl", "rtb/iab_openrtb26_examples.jsonl"] {
        let Some(path) = testdata::file(name) else { return };
        for row in std::fs::read_to_string(path).expect("read").lines() {
            let row: Value = serde_json::from_str(row).expect("row");
            let Some(body) = row.get("body").filter(|_| row["parses"] == json!(true)) else {
                let raw = row["raw"].as_str().unwrap_or_default();
                assert!(parse(raw.as_bytes()).is_err(), "{raw:.60}");
                continue;
            };
            let valid =
                body.get("id").is_some_and(Value::is_string) && body["imp"].as_array().is_some_and(|a| !a.is_empty());
            let parsed = parse_json(body);
            assert_eq!(parsed.is_ok(), valid, "{} {:?}", row["name"], parsed);
        }
    }
}

/// A cut or bent line of a valid request: the neighbourhood in which parsers break.
fn bent() -> impl Strategy<Value = Vec<u8>> {
    let base = br#"{"id":"a","imp":[{"id":"1","banner":{"format":[{"w":300,"h":250}]},"bidfloor":0.5}],"device":{"ua":"x\n"}}"#;
    (any::<usize>(), any::<u8>(), any::<bool>()).prop_map(move |(at, byte, cut)| {
        let mut line = base.to_vec();
        let at = at % line.len();
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        line
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(line in prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), bent()]) {
        if let Err(rejected) = parse(&line) {
            prop_assert!(!rejected.message.is_empty());
            prop_assert!(rejected.byte.is_none_or(|byte| byte <= line.len()));
        }
    }

    #[test]
    fn any_text_survives(id in "\\PC{1,40}", ua in "\\PC{0,40}") {
        let line = json!({"id": id, "imp": [{}], "device": {"ua": ua}}).to_string();
        let request = parse(line.as_bytes()).expect("valid");
        prop_assert_eq!(request.id.as_ref(), id.as_str());
        prop_assert_eq!(request.device.ua.as_deref(), Some(ua.as_str()));
    }
}
