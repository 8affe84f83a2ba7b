//! What bytes from an enemy cost: memory at its peak, counted by the allocator of this test, for every way to read them.

#![allow(unsafe_code)] // an allocator is unsafe by its signature; this one counts and hands on

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use schemas::{
    builtin,
    codec::Limits,
    frame, hostile, json,
    model::Schema,
    plan::Plan,
    projection::{Projection, Slot},
    proof::{Random, draw},
};

/// Peak of one message that is decoded, or printed as JSON.
const PEAK_BYTES: i64 = 1 << 20;

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

fn long(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    schemas::codec::write_long(&mut out, value);
    out
}

#[test]
fn hostile_messages_cost_little_memory() {
    let texts: Vec<_> = builtin().iter().map(|b| b.avsc).chain(hostile::GREEDY).collect();
    for (which, text) in texts.iter().enumerate() {
        let schema = Schema::parse(text).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        // Behind a value's beginning too, where the first field is not what stops it.
        let drawn = draw(&schema, &mut Random(which as u64)).unwrap_or_default();
        for (what, bytes) in hostile::messages() {
            for keep in [0, drawn.len() / 3, drawn.len() * 2 / 3] {
                let message = [&drawn[..keep], &bytes[keep..]].concat();
                let printed = peak(|| json::decode(&plan, &message, &Limits::EVENT).map_err(|e| e.kind()));
                assert!(printed <= PEAK_BYTES, "{printed} bytes: {what}, printed, {keep} bytes into {text}");
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
    for (what, bytes) in hostile::messages() {
        for keep in 0..drawn.len() {
            let message = [&drawn[..keep], &bytes[keep..]].concat();
            let mut slots = [Slot::Null];
            assert_eq!(peak(|| projection.decode(&message, &Limits::EVENT, &mut slots).is_ok()), 0, "{what}");
        }
    }
}

/// The typed events borrow all of it: text, maps and lists lie where they were received, and writing goes into what is there.
#[test]
fn typed_events_allocate_nothing() {
    for b in builtin() {
        let schema = Schema::parse(b.avsc).unwrap();
        let mut decoded = 0;
        for seed in 0..50 {
            let datum = draw(&schema, &mut Random(seed)).unwrap();
            let mut out = Vec::with_capacity(2 * datum.len() + 64);
            let mut whole = false;
            assert_eq!(peak(|| whole = (b.recode)(&datum, &mut out).is_ok()), 0, "{}, seed {seed}", b.name);
            decoded += u32::from(whole);
        }
        assert!(decoded >= 25, "{}: {decoded} of 50 decoded", b.name);
    }
}

/// Items without bytes are the one thing that costs steps and no bytes: there are few of them, over the whole message.
#[test]
fn nulls_end() {
    let schema = Schema::parse(hostile::GREEDY[2]).unwrap();
    let plan = Plan::new(&schema, &schema).unwrap();
    let inner = [long(4_096), long(0)].concat();
    let twice = [long(2), inner.clone(), inner.clone(), long(0)].concat();
    assert_eq!(json::decode(&plan, &twice, &Limits::EVENT).unwrap_err().kind(), "item_limit");
    let once = [long(1), inner, long(0)].concat();
    assert!(json::decode(&plan, &once, &Limits::EVENT).is_ok());
    let negative = [long(1), long(-4_097), long(0), long(0), long(0)].concat();
    assert_eq!(json::decode(&plan, &negative, &Limits::EVENT).unwrap_err().kind(), "item_limit");
}
