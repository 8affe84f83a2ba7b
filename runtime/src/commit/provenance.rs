//! Where an output came from (rule P6): one binary header of 24 bytes at most, first among the record's headers.

/// Name of the header.
pub const HEADER: &[u8] = b"bh";
/// Header of a boundary (rule P10): keys of this producer below the `n` in it are gone.
pub const BOUNDARY: &[u8] = b"bh-boundary";
const BYTES: usize = 22;

/// `n` counts densely what this shard sends to this output partition; it comes from the fold, never from what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// `service_id` of the producer's name.
    pub service: u32,
    pub partition: u16,
    pub lineage: i64,
    pub n: i64,
}

/// Stable short id of a service name; the topology check refuses two names with one id.
pub fn service_id(name: &str) -> u32 {
    crate::log::partitioner::murmur2(name.as_bytes())
}

impl Provenance {
    #[inline]
    pub fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[..4].copy_from_slice(&self.service.to_be_bytes());
        out[4..6].copy_from_slice(&self.partition.to_be_bytes());
        out[6..14].copy_from_slice(&self.lineage.to_be_bytes());
        out[14..].copy_from_slice(&self.n.to_be_bytes());
        out
    }

    /// `None` for bytes that are no provenance.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        Some(Self {
            service: u32::from_be_bytes(bytes[..4].try_into().ok()?),
            partition: u16::from_be_bytes(bytes[4..6].try_into().ok()?),
            lineage: i64::from_be_bytes(bytes[6..14].try_into().ok()?),
            n: i64::from_be_bytes(bytes[14..].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let provenance = Provenance { service: 7, partition: 3, lineage: -5, n: i64::MAX };
        assert_eq!(Provenance::decode(&provenance.encode()), Some(provenance));
        assert_eq!(Provenance::decode(&[0; 21]), None);
        const { assert!(BYTES <= 24, "rule P6") };
    }
}
