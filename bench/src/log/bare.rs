//! The bare loops: what the disk gives to a program that does nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Failure, check};

/// As large as the log's own (`SegmentLogConfig`).
const JOURNAL_BYTES: u64 = 64 << 20;

/// Writes every byte twice: into two preallocated files in turn, synced each time, and into a growing one that is synced
/// now and then.
pub struct Appender {
    journals: [File; 2],
    segment: File,
    chunk: Vec<u8>,
    rounds: u64,
    /// Rounds between two syncs of the segment.
    segment_every: u64,
}

impl Appender {
    pub fn new(directory: &Path, bytes: u64, journal_syncs: u64, syncs: u64) -> Result<Self, Failure> {
        let create = |name: &str| create(directory, name);
        let journals = [create("journal-a")?, create("journal-b")?];
        for journal in &journals {
            rustix::fs::fallocate(journal, rustix::fs::FallocateFlags::empty(), 0, JOURNAL_BYTES)?;
            journal.sync_all()?;
        }
        let rounds = journal_syncs.max(1);
        let chunk = bytes.div_ceil(rounds).next_multiple_of(4096) as usize;
        let chunk = (0..chunk).map(|n| (n * 31 + n / 251) as u8).collect();
        let segment_every = rounds.div_ceil((syncs - journal_syncs).max(1));
        Ok(Self { journals, segment: create("segment")?, chunk, rounds, segment_every })
    }

    pub fn run(&mut self) -> Result<(), Failure> {
        let size = self.chunk.len() as u64;
        let (mut current, mut position) = (0, 0);
        for round in 0..self.rounds {
            if position + size > JOURNAL_BYTES {
                current = 1 - current;
                position = 0;
            }
            self.journals[current].write_all_at(&self.chunk, position)?;
            self.journals[current].sync_data()?;
            position += size;
            self.segment.write_all_at(&self.chunk, round * size)?;
            if (round + 1) % self.segment_every == 0 {
                self.segment.sync_data()?;
            }
        }
        Ok(())
    }
}

/// Reads all segments and checks every batch. The records in them.
pub fn scan(directory: &Path, read_bytes: usize) -> Result<usize, Failure> {
    let mut names: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    names.sort_by_key(std::fs::DirEntry::file_name);
    let mut buffer = vec![0; read_bytes];
    let mut records = 0;
    for name in names {
        let file = File::open(name.path())?;
        let mut position = 0;
        loop {
            let found = file.read_at(&mut buffer, position)?;
            let mut at = 0;
            while at < found
                && let Some((bytes, count)) = check(&buffer[at..found])?
            {
                at += bytes;
                records += count;
            }
            if at == 0 {
                break;
            }
            position += at as u64;
        }
    }
    Ok(records)
}

/// Writes 4 KiB into a preallocated file and syncs it.
pub struct Syncer {
    file: File,
    position: u64,
}

impl Syncer {
    pub fn new(directory: &Path) -> Result<Self, Failure> {
        let file = create(directory, "synced")?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, JOURNAL_BYTES)?;
        file.sync_all()?;
        Ok(Self { file, position: 0 })
    }

    pub fn write_and_sync(&mut self) -> Result<(), Failure> {
        self.file.write_all_at(&[7; 4096], self.position)?;
        self.file.sync_data()?;
        self.position = (self.position + 4096) % JOURNAL_BYTES;
        Ok(())
    }
}

fn create(directory: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(directory.join(name))
}
