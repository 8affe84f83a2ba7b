//! Real data stands beside the project, never in it. Tests that use it say so loudly where it is absent.

use std::path::PathBuf;

/// A file of the data directory: `$BULKHEAD_DATA`, else `../shared/data` beside the workspace.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let directory = std::env::var_os("BULKHEAD_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let path = directory.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is absent; set BULKHEAD_DATA to the data directory to run this test", path.display());
    None
}

/// The recorded requests, one line each.
pub(crate) fn recorded_requests() -> Option<Vec<Vec<u8>>> {
    use std::io::Read;
    let path = file("rtb/bid_requests_2012_20k.openrtb.jsonl.gz")?;
    let mut text = Vec::new();
    let packed = std::fs::File::open(path).expect("open recorded requests");
    flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut text).expect("unpack recorded requests");
    Some(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}
