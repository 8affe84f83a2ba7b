use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

fn compressible(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| b'a' + rng.u8(0..3)).collect()
}

#[test]
fn our_frames_are_what_others_read() {
    for len in [0, 1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 300_000] {
        let input = compressible(len as u64, len);
        let mut frame = Vec::new();
        Compressor::new().frame(&input, &mut frame);
        // The decoder of the library checks the header's checksum too.
        let mut read = Vec::new();
        FrameDecoder::new(&frame[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, input);
        let mut own = Vec::new();
        unpack(&frame, &mut own, LIMIT).unwrap();
        assert_eq!(own, input);
    }
}

#[test]
fn frames_of_others_are_read() {
    let input = compressible(7, 300_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(input.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let frame = encoder.finish().unwrap();
                let mut own = Vec::new();
                unpack(&frame, &mut own, LIMIT).unwrap();
                assert_eq!(own, input);
            }
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    let mut frame = Vec::new();
    Compressor::new().frame(&vec![0; 10 << 20], &mut frame);
    let mut out = Vec::new();
    assert!(unpack(&frame, &mut out, LIMIT).is_err());
    assert!(out.capacity() <= 2 * LIMIT);
}

proptest! {
    #[test]
    fn hostile_bytes_end_in_an_error_or_in_bytes(seed in any::<u64>(), len in 0usize..3000, flips in 1usize..8) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut frame = Vec::new();
        Compressor::new().frame(&compressible(seed, len), &mut frame);
        for _ in 0..flips {
            let at = rng.usize(0..frame.len());
            frame[at] ^= 1 << rng.u8(0..8);
        }
        frame.truncate(rng.usize(0..=frame.len()));
        let mut out = Vec::new();
        let _ = unpack(&frame, &mut out, LIMIT);
        prop_assert!(out.len() <= LIMIT);
    }
}
