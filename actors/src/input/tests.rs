use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::testdata;

/// A file in a directory of its own that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Scratch {
        let unique = format!("bulkhead-input-{}-{:?}", std::process::id(), std::thread::current().id());
        let directory = std::env::temp_dir().join(unique.replace(['(', ')'], ""));
        std::fs::create_dir_all(&directory).expect("scratch directory");
        let path = directory.join(name);
        std::fs::write(&path, content).expect("scratch file");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap_or(&self.0));
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(content).expect("pack");
    packer.finish().expect("pack")
}

fn lines(path: &Path) -> Result<Vec<(u64, Vec<u8>)>, InputError> {
    let mut file = RequestFile::open(path)?;
    let mut all = Vec::new();
    while let Some(line) = file.next_line()? {
        all.push((line.number, line.bytes.to_vec()));
    }
    Ok(all)
}

#[test]
fn blank_lines_are_passed_over_and_keep_their_number() {
    let file = Scratch::new("a.jsonl", b"\xef\xbb\xbfone\r\n\n  \t\r\ntwo\n\nthree");
    let expected = [(1, b"one".to_vec()), (4, b"two".to_vec()), (6, b"three".to_vec())];
    assert_eq!(lines(&file.0).expect("read"), expected);
    let empty = Scratch::new("b.jsonl", b"");
    assert_eq!(lines(&empty.0).expect("read"), []);
}

#[test]
fn gzip_is_known_by_its_bytes_and_may_have_several_members() {
    let packed = [gzip(b"one\ntw"), gzip(b"o\n")].concat();
    for name in ["a.jsonl.gz", "a.jsonl"] {
        let file = Scratch::new(name, &packed);
        assert_eq!(lines(&file.0).expect("read"), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    }
}

#[test]
fn a_broken_line_does_not_end_the_reading() {
    let file = Scratch::new("a.jsonl", b"{\"id\":\n{\"id\":\"a\",\"imp\":[{}]}\n\xff\n");
    let mut reader = RequestFile::open(&file.0).expect("open");
    let mut outcomes = Vec::new();
    while let Some(line) = reader.next_line().expect("read") {
        outcomes.push((line.number, line.request().map(|r| r.id.to_string()).map_err(|e| e.kind())));
    }
    assert_eq!(outcomes, [(1, Err("syntax")), (2, Ok("a".to_owned())), (3, Err("not_utf8"))]);
}

#[test]
fn an_overlong_line_is_bounded_and_the_next_one_is_whole() {
    let mut content = vec![b'x'; 3 * REQUEST_MAX_BYTES];
    content.extend_from_slice(b"\nnext\n");
    let file = Scratch::new("a.jsonl", &content);
    let mut reader = RequestFile::open(&file.0).expect("open");
    let line = reader.next_line().expect("read").expect("line");
    assert_eq!((line.bytes.len(), line.length), (REQUEST_MAX_BYTES, 3 * REQUEST_MAX_BYTES as u64));
    assert_eq!(line.request().expect_err("long").kind(), "too_long");
    assert_eq!(reader.next_line().expect("read").expect("line").bytes, b"next");
    assert!(reader.line.capacity() <= 2 * REQUEST_MAX_BYTES);
}

#[test]
fn a_line_of_exactly_the_limit_is_not_too_long() {
    let id = r#"{"id":"a","imp":[{}],"x":""#;
    let filler = "y".repeat(REQUEST_MAX_BYTES - id.len() - 2);
    let file = Scratch::new("a.jsonl", format!("{id}{filler}\"}}\n").as_bytes());
    let mut reader = RequestFile::open(&file.0).expect("open");
    assert!(reader.next_line().expect("read").expect("line").request().is_ok());
}

#[test]
fn files_that_cannot_be_read_say_what_where_and_what_to_do() {
    let missing = std::env::temp_dir().join("bulkhead-no-such-file.jsonl");
    let error = lines(&missing).expect_err("missing");
    assert_eq!(error.kind(), "open");
    assert!(error.to_string().contains("bulkhead-no-such-file.jsonl") && error.to_string().contains("check the path"));
    assert!(lines(&std::env::temp_dir()).is_err(), "a directory");

    let plain = Scratch::new("a.jsonl.gz", b"{}\n");
    assert_eq!(lines(&plain.0).expect_err("plain").kind(), "not_gzip");
    let nothing = Scratch::new("c.jsonl.gz", b"");
    assert_eq!(lines(&nothing.0).expect_err("empty").kind(), "not_gzip");

    let whole = gzip("a line of text\n".repeat(2_000).as_bytes());
    let cut = Scratch::new("b.jsonl.gz", &whole[..whole.len() - 9]);
    let error = lines(&cut.0).expect_err("cut");
    assert_eq!(error.kind(), "truncated", "{error}");

    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    let damaged = Scratch::new("d.jsonl.gz", &damaged);
    assert_eq!(lines(&damaged.0).expect_err("checksum").kind(), "corrupt");
    let mut trailing = whole;
    trailing.extend_from_slice(b"not gzip at all");
    let trailing = Scratch::new("e.jsonl.gz", &trailing);
    assert_eq!(lines(&trailing.0).expect_err("trailing bytes").kind(), "corrupt");
}

#[test]
fn survey_reads_the_recorded_times() {
    let content = b"{\"ext\":{\"ts_us\":500}}\nbroken\n\n{\"id\":\"a\"}\n{\"ext\":{\"ts_us\":200}}\n";
    let file = Scratch::new("a.jsonl", content);
    let survey_of = |lines_max| survey(&file.0, lines_max).expect("survey");
    assert_eq!(survey_of(10), Survey { lines: 4, timed: 2, first_us: 200, last_us: 500, whole: true });
    assert_eq!(survey_of(10).span_us(), Some(300));
    assert_eq!((survey_of(1).span_us(), survey_of(1).whole), (None, false));
}

#[test]
fn the_recorded_file_is_read_whole() {
    let Some(path) = testdata::file("rtb/bid_requests_2012_20k.openrtb.jsonl.gz") else { return };
    let expected = testdata::recorded_requests().expect("lines").len();
    let mut reader = RequestFile::open(&path).expect("open");
    let mut valid = 0;
    while let Some(line) = reader.next_line().expect("read") {
        valid += usize::from(line.request().is_ok());
    }
    assert_eq!(valid, expected);
    let survey = survey(&path, u64::MAX).expect("survey");
    assert_eq!((survey.lines, survey.timed, survey.whole), (expected as u64, expected as u64, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_same_lines_come_out_plain_and_packed(rows in proptest::collection::vec("[a-z ]{0,12}", 0..20)) {
        let content = rows.join("\n");
        let expected: Vec<_> = content
            .split('\n')
            .enumerate()
            .filter(|(_, row)| !row.trim().is_empty())
            .map(|(at, row)| (at as u64 + 1, row.as_bytes().to_vec()))
            .collect();
        let plain = Scratch::new("p.jsonl", content.as_bytes());
        prop_assert_eq!(lines(&plain.0).expect("plain"), expected.clone());
        let packed = Scratch::new("p.jsonl.gz", &gzip(content.as_bytes()));
        prop_assert_eq!(lines(&packed.0).expect("packed"), expected);
    }
}
