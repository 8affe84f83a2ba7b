//! One simulated file: its bytes as the process sees them, and how to go back to what is durable.

/// What survives a crash as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A change that is not durable yet, with what it replaced.
enum Pending {
    /// What was written stands in the file; it is looked up only when it has to be taken back.
    Write {
        offset: usize,
        len: usize,
        old: Vec<u8>,
        old_len: usize,
    },
    SetLen {
        new_len: usize,
        old_len: usize,
        old_end: Vec<u8>,
    },
}

#[derive(Default)]
pub(super) struct FileState {
    bytes: Vec<u8>,
    pending: Vec<Pending>,
}

impl FileState {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let found = buffer.len().min(self.bytes.len() - from);
        buffer[..found].copy_from_slice(&self.bytes[from..from + found]);
        found
    }

    pub(super) fn write(&mut self, new: &[u8], offset: u64) {
        let offset = offset as usize;
        let old_len = self.bytes.len();
        let end = offset + new.len();
        let old = self.bytes.get(offset..end.min(old_len)).unwrap_or_default().to_vec();
        self.pending.push(Pending::Write { offset, len: new.len(), old, old_len });
        put(&mut self.bytes, offset, new);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let new_len = len as usize;
        let old_len = self.bytes.len();
        let old_end = self.bytes.get(new_len..).unwrap_or_default().to_vec();
        self.pending.push(Pending::SetLen { new_len, old_len, old_end });
        self.bytes.resize(new_len, 0);
    }

    pub(super) fn sync(&mut self) {
        self.pending.clear();
    }

    pub(super) fn flip_bit(&mut self, byte: u64, bit: u8) {
        if let Some(byte) = self.bytes.get_mut(byte as usize) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Goes back to what is durable, then lets each pending sector and length survive with the chance `kept`.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng, kept: f64) {
        let pending = std::mem::take(&mut self.pending);
        let mut written = Vec::new();
        for change in pending.iter().rev() {
            match change {
                Pending::Write { offset, len, old, old_len } => {
                    // All later changes are undone: here stands what this one wrote.
                    written.push(self.bytes[*offset..][..*len].to_vec());
                    self.bytes.truncate(*old_len);
                    let found = old.len();
                    self.bytes[*offset..][..found].copy_from_slice(old);
                }
                Pending::SetLen { new_len, old_len, old_end } => {
                    self.bytes.resize(*old_len, 0);
                    if old_len > new_len {
                        self.bytes[*new_len..].copy_from_slice(old_end);
                    }
                }
            }
        }
        for change in &pending {
            match change {
                Pending::Write { offset, .. } => {
                    let new = written.pop().unwrap_or_default();
                    survive(&mut self.bytes, *offset, &new, rng, kept);
                }
                Pending::SetLen { new_len, .. } => {
                    if rng.f64() < kept {
                        self.bytes.resize(*new_len, 0);
                    }
                }
            }
        }
    }
}

fn survive(bytes: &mut Vec<u8>, offset: usize, new: &[u8], rng: &mut fastrand::Rng, kept: f64) {
    let mut at = 0;
    while at < new.len() {
        let sector_end = (offset + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - offset;
        let end = sector_end.min(new.len());
        if rng.f64() < kept {
            put(bytes, offset + at, &new[at..end]);
        }
        at = end;
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if bytes.len() < offset {
        bytes.resize(offset, 0);
    }
    let (over, behind) = new.split_at(new.len().min(bytes.len() - offset));
    bytes[offset..][..over.len()].copy_from_slice(over);
    bytes.extend_from_slice(behind);
}
