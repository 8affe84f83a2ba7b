//! What bytes from an enemy cost: memory at its peak, counted by the allocator of this test, for every way to read them.

#![allow(unsafe_code)] // an allocator is unsafe by its signature; this one counts and hands on

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use schemas::{
    builtin,
    codec::Limits,
    frame, json,
    model::Schema,
    plan::Plan,
    projection::{Projection, Slot},
    proof::{Random, draw},
};

/// Peak of one message that is decoded.
const PEAK_BYTES: i64 = 1 << 20;
/// Peak of one that is printed as JSON: the text has its own limit, and a buffer that grows holds the old one too.
const PRINTED_PEAK_BYTES: i64 = 2 * json::JSON_BYTES_MAX as i64;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn add(bytes: i64) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(-(layout.size() as i64));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that were held at once while `work` ran.
fn peak<T>(work: impl FnOnce() -> T) -> i64 {
    let before = LIVE.get();
    PEAK.set(before);
    drop(work());
    PEAK.get() - before
}

/// Values that cost more than their bytes, if anything does.
const GREEDY: [&str; 6] = [
    r#"{"type":"array","items":"null"}"#,
    r#"{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}"#,
    r#"{"type":"array","items":{"type":"array","items":"null"}}"#,
    r#"{"type":"map","values":{"type":"map","values":"bytes"}}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]},{"name":"s","type":"string"}]}"#,
    r#"{"type":"array","items":{"type":"bytes","logicalType":"decimal","precision":38,"scale":4}}"#,
];

fn long(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    schemas::codec::write_long(&mut out, value);
    out
}

/// 64 KiB of each kind of trouble, behind what makes them look like the start of a value.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let fill = |head: Vec<u8>, with: &[u8]| {
        let mut bytes = head;
        bytes.extend(with.iter().cycle().take(65_536 - bytes.len()));
        bytes
    };
    vec![
        ("a block of the most items", fill(long(i64::MAX), &[0])),
        ("a negative block count", fill([long(-1_000_000), long(10)].concat(), &[0])),
        ("the least block count", fill([long(i64::MIN), long(i64::MAX)].concat(), &[1])),
        ("an endless number", fill(vec![], &[0x80])),
        ("numbers of eleven bytes", fill(vec![], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
        ("a negative length", fill(vec![], &[1])),
        ("a huge length", fill(long(i64::from(i32::MAX)), b"a")),
        ("one block an item", fill(vec![], &[2])),
        ("blocks of 64 items", fill(vec![], &[0x80, 0x01])),
        ("nulls in many blocks", fill(vec![], &long(4_096))),
        ("deep recursion", fill(vec![], &[2])),
        ("empty items as many as bytes", fill(long(65_000), &[0])),
        ("controls that JSON writes long", fill([long(4_096), vec![1; 4_096]].concat(), &[2, 2, 1])),
    ]
}

#[test]
fn hostile_messages_cost_little_memory() {
    let texts: Vec<_> = builtin().iter().map(|b| b.avsc).chain(GREEDY).collect();
    for (which, text) in texts.iter().enumerate() {
        let schema = Schema::parse(text).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        // Behind a value's beginning too, where the first field is not what stops it.
        let drawn = draw(&schema, &mut Random(which as u64)).unwrap_or_default();
        for (what, bytes) in hostile() {
            for keep in [0, drawn.len() / 3, drawn.len() * 2 / 3] {
                let message = [&drawn[..keep], &bytes[keep..]].concat();
                let printed = peak(|| json::decode(&plan, &message, &Limits::EVENT).map_err(|e| e.kind()));
                assert!(printed <= PRINTED_PEAK_BYTES, "{printed} bytes: {what}, printed, {keep} bytes into {text}");
                let Some(b) = builtin().get(which) else { continue };
                let mut out = Vec::with_capacity(message.len());
                let typed = peak(|| (b.recode)(&message, &mut out).is_ok());
                assert!(typed <= PEAK_BYTES, "{typed} bytes: {what}, {keep} bytes into {}", b.name);
                assert_eq!(peak(|| frame::split_any(&message).is_ok()), 0, "{what}");
            }
        }
    }
    assert!(peak(|| vec![0_u8; 1 << 10]) >= 1 << 10, "this test counts");
}

/// Borrowed decoding and projection hold nothing at all, whatever the bytes.
#[test]
fn a_projection_allocates_nothing() {
    let schema = Schema::parse(builtin()[0].avsc).unwrap();
    let projection = Projection::new(Plan::new(&schema, &schema).unwrap(), &["campaign_id"]).unwrap();
    let drawn = draw(&schema, &mut Random(3)).unwrap();
    for (what, bytes) in hostile() {
        for keep in 0..drawn.len() {
            let message = [&drawn[..keep], &bytes[keep..]].concat();
            let mut slots = [Slot::Null];
            assert_eq!(peak(|| projection.decode(&message, &Limits::EVENT, &mut slots).is_ok()), 0, "{what}");
        }
    }
}

/// Items without bytes are the one thing that costs steps and no bytes: there are few of them, over the whole message.
#[test]
fn nulls_end() {
    let schema = Schema::parse(GREEDY[2]).unwrap();
    let plan = Plan::new(&schema, &schema).unwrap();
    let inner = [long(4_096), long(0)].concat();
    let twice = [long(2), inner.clone(), inner.clone(), long(0)].concat();
    assert_eq!(json::decode(&plan, &twice, &Limits::EVENT).unwrap_err().kind(), "item_limit");
    let once = [long(1), inner, long(0)].concat();
    assert!(json::decode(&plan, &once, &Limits::EVENT).is_ok());
    let negative = [long(1), long(-4_097), long(0), long(0), long(0)].concat();
    assert_eq!(json::decode(&plan, &negative, &Limits::EVENT).unwrap_err().kind(), "item_limit");
}
