//! What costs a reader the most: messages of 64 KiB, and schemas whose values cost more than their bytes. The test of the
//! decoders' memory and the benchmark of their time draw from it.

use crate::codec::write_long;

/// Values that cost more than their bytes, if anything does.
pub const GREEDY: [&str; 7] = [
    r#"{"type":"array","items":"null"}"#,
    r#"{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}"#,
    r#"{"type":"array","items":{"type":"array","items":"null"}}"#,
    r#"{"type":"map","values":{"type":"map","values":"bytes"}}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]},{"name":"s","type":"string"}]}"#,
    r#"{"type":"array","items":{"type":"bytes","logicalType":"decimal","precision":38,"scale":4}}"#,
    r#"{"type":"array","items":{"type":"record","name":"Short","fields":[{"name":"a_name_that_is_long","type":"boolean"}]}}"#,
];

/// Bytes of every message.
pub const MESSAGE_BYTES: usize = 64 << 10;

fn long(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    write_long(&mut out, value);
    out
}

/// Each kind of trouble with its name, behind what makes it look like the start of a value.
pub fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let fill = |head: Vec<u8>, with: &[u8]| {
        let mut bytes = head;
        bytes.extend(with.iter().cycle().take(MESSAGE_BYTES - bytes.len()));
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
        (
            "decimals of the most digits",
            fill(vec![], &[long(31), [long(1_024), vec![0x5a; 1_024]].concat().repeat(31)].concat()),
        ),
        ("controls that JSON writes long", fill([long(4_096), vec![1; 4_096]].concat(), &[2, 2, 1])),
    ]
}
