//! Limits, block forms and the two faces of arrays and maps.

use super::*;
use crate::{
    events::{Commit, FraudVerdict, ImpressionEvent, InputRange, OutcomeKind, Verdict},
    frame::{self, FrameError},
};

fn impression() -> ImpressionEvent<'static> {
    ImpressionEvent {
        event_id: "e-1",
        timestamp: 1_700_000_000_000,
        campaign_id: "c-7",
        creative_id: "cr-9",
        placement_id: "x:y:z",
        user_id: Some("u"),
        bid_price_micros: 2_500,
        win_price_micros: 1_900,
        metadata: Map::from_pairs(&[("page", "home"), ("os", "ios")]),
    }
}

fn bytes(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

fn error<'a, T: Decode<'a> + Debug>(datum: &'a [u8]) -> (&'static str, usize) {
    let e = T::decode(datum).unwrap_err();
    (e.kind(), e.byte)
}

/// The bytes are those of Avro's specification, written out by hand.
#[test]
fn impression_bytes_are_as_specified() {
    let event = ImpressionEvent { metadata: Map::from_pairs(&[("k", "v")]), timestamp: 64, ..impression() };
    let expected = b"\x06e-1\x80\x01\x06c-7\x08cr-9\x0ax:y:z\x02\x02u\x88\x27\xd8\x1d\x02\x02k\x02v\x00";
    assert_eq!(bytes(&event), expected);
    assert_eq!(ImpressionEvent::decode(expected), Ok(event));
}

#[test]
fn frame_carries_the_id_and_refuses_others() {
    let mut message = Vec::new();
    frame::encode(&impression(), &mut message);
    assert_eq!(&message[..5], [0, 0, 0, 0, 1]);
    assert_eq!(frame::schema_id(&message), Ok(1));
    assert_eq!(frame::decode::<ImpressionEvent<'_>>(&message), Ok(impression()));
    assert_eq!(
        frame::decode::<FraudVerdict<'_>>(&message).unwrap_err(),
        FrameError::OtherSchema { expected: 6, found: 1 }
    );
    assert_eq!(frame::schema_id(b"\x07abcd").unwrap_err(), FrameError::Magic { found: 7 });
    assert_eq!(frame::schema_id(b"\0\0\0").unwrap_err().kind(), "frame_truncated");
    assert_eq!(frame::schema_id(b"").unwrap_err().kind(), "frame_truncated");
}

#[test]
fn arrays_and_maps_are_equal_in_both_forms() {
    let rules = ["a", "b"];
    let verdict =
        FraudVerdict { verdict: Verdict::SivtSuspect, rules: Array::from_slice(&rules), ..Default::default() };
    let datum = bytes(&verdict);
    let read = FraudVerdict::decode(&datum).unwrap();
    assert_eq!(read, verdict);
    assert_eq!(read.rules.iter().collect::<Vec<_>>(), rules);
    assert_eq!((read.rules.len(), read.rules.get(1), read.rules.get(2)), (2, Some("b"), None));
    let (ab, ba) = ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]);
    assert_eq!(Map::from_pairs(&ab), Map::from_pairs(&ba));
    assert_ne!(Map::from_pairs(&ab), Map::from_pairs(&ab[..1]));
    assert_ne!(Map::from_pairs(&ab[..1]), Map::from_pairs(&ab));
}

/// Writers may split a map into blocks, with or without their size in bytes.
#[test]
fn blocks_of_every_form_are_read() {
    let head = bytes(&ImpressionEvent { metadata: Map::default(), ..impression() });
    let head = &head[..head.len() - 1];
    let one_block = [head, b"\x04\x02a\x021\x02b\x022\0"].concat();
    let two_blocks = [head, b"\x02\x02a\x021\x02\x02b\x022\0"].concat();
    let sized = [head, b"\x03\x10\x02a\x021\x02b\x022\0"].concat();
    let wrong_size = [head, b"\x03\x0e\x02a\x021\x02b\x022\0"].concat();
    let expected = Map::from_pairs(&[("a", "1"), ("b", "2")]);
    assert_eq!(ImpressionEvent::decode(&one_block).unwrap().metadata, expected);
    assert_eq!(ImpressionEvent::decode(&two_blocks).unwrap().metadata, expected);
    // "\x03" is -2 items, "\x10" is 8 bytes: exactly the two entries.
    assert_eq!(ImpressionEvent::decode(&sized).unwrap().metadata, expected);
    assert_eq!(error::<ImpressionEvent<'_>>(&wrong_size).0, "block_size");
    let repeated = [head, b"\x04\x02a\x021\x02a\x022\0"].concat();
    assert_eq!(ImpressionEvent::decode(&repeated).unwrap().metadata.get("a"), Some("2"));
}

#[test]
fn limits_hold_and_check_says_so_before() {
    let long = "x".repeat(4096);
    assert_eq!(
        ImpressionEvent::decode(&bytes(&ImpressionEvent { event_id: &long, ..impression() })).unwrap().event_id,
        long
    );
    let long = "x".repeat(4097);
    let event = ImpressionEvent { campaign_id: &long, ..impression() };
    assert_eq!(error::<ImpressionEvent<'_>>(&bytes(&event)).0, "string_limit");
    let refused = Encode::check(&event).unwrap_err();
    assert_eq!((refused.field, refused.found, refused.limit), ("ImpressionEvent.campaign_id", 4097, 4096));

    let pairs: Vec<_> = (0..65).map(|_| ("k", "v")).collect();
    let full = ImpressionEvent { metadata: Map::from_pairs(&pairs[..64]), ..impression() };
    assert_eq!(ImpressionEvent::decode(&bytes(&full)).unwrap().metadata.len(), 64);
    let event = ImpressionEvent { metadata: Map::from_pairs(&pairs), ..impression() };
    assert_eq!(error::<ImpressionEvent<'_>>(&bytes(&event)).0, "map_limit");
    assert_eq!(Encode::check(&event).unwrap_err().kind(), "encode_limit");
    assert_eq!(Encode::check(&full), Ok(()));

    assert_eq!(error::<ImpressionEvent<'_>>(&vec![0; 65_537]).0, "message_limit");
    let ranges = [InputRange { topic: "t", ..Default::default() }; 40_000];
    let commit = Commit { inputs: Array::from_slice(&ranges), ..Default::default() };
    let datum = bytes(&commit);
    assert!(datum.len() > 65_536);
    assert_eq!(Commit::decode(&datum).unwrap().inputs.len(), 40_000);
    assert_eq!(error::<Commit<'_>>(&vec![0; (1 << 20) + 1]).0, "message_limit");
}

#[test]
fn bad_primitives_are_named_with_their_byte() {
    let limits = &Limits::EVENT;
    let read = |b: &'static [u8]| Reader::new(b, limits).unwrap();
    let kind = |e: DecodeError| (e.kind(), e.byte);
    assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").read_long(), Ok(i64::MIN));
    assert_eq!(kind(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02").read_long().unwrap_err()), ("varint", 0));
    assert_eq!(kind(read(&[0xff; 11]).read_long().unwrap_err()), ("varint", 0));
    assert_eq!(kind(read(b"\xff").read_long().unwrap_err()), ("truncated", 0));
    assert_eq!(read(b"\xff\xff\xff\xff\x0f").read_int(), Ok(i32::MIN));
    assert_eq!(kind(read(b"\x80\x80\x80\x80\x10").read_int().unwrap_err()), ("int_range", 0));
    assert_eq!(kind(bool::read(&mut read(b"\x02")).unwrap_err()), ("boolean", 0));
    assert_eq!(kind(read(b"\x03ab").read_str().unwrap_err()), ("length", 0));
    assert_eq!(kind(read(b"\x06a\xffb").read_str().unwrap_err()), ("utf8", 2));
    assert_eq!(kind(read(b"\x06a\xffb").skip_str().unwrap_err()), ("utf8", 2));
    assert_eq!(kind(Option::<i64>::read(&mut read(b"\x04\x00")).unwrap_err()), ("branch", 0));
    assert_eq!(kind(OutcomeKind::read(&mut read(b"\x7e")).unwrap_err()), ("symbol", 0));
}

/// Five bytes that would cost half a gigabyte elsewhere.
#[test]
fn a_huge_count_costs_nothing() {
    let mut reader = Reader::new(b"\x80\xa8\xd6\xb9\x07\x00", &Limits::EVENT).unwrap();
    assert_eq!(Array::<i64>::read(&mut reader).unwrap_err().kind(), "truncated");
    let mut reader = Reader::new(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", &Limits::EVENT).unwrap();
    assert_eq!(Array::<i64>::read(&mut reader).unwrap_err().kind(), "truncated");
}

#[test]
fn null_last_is_written_the_other_way_round() {
    let mut out = Vec::new();
    write_null_last(&Some(5_i64), &mut out);
    write_null_last(&None::<i64>, &mut out);
    assert_eq!(out, [0, 10, 2]);
    let mut reader = Reader::new(&out, &Limits::EVENT).unwrap();
    assert_eq!(read_null_last::<i64>(&mut reader), Ok(Some(5)));
    assert_eq!(skip_null_last::<i64>(&mut reader), Ok(()));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn symbols_have_names_both_ways() {
    for v in Verdict::ALL {
        assert_eq!(Verdict::from_symbol(v.as_str()), Some(*v));
    }
    assert_eq!((Verdict::Givt.as_str(), Verdict::default(), Verdict::from_symbol("x")), ("GIVT", Verdict::Valid, None));
}
