//! What one message may cost its reader.

/// Limits of a decoder. Depth is not among them for generated types: theirs is fixed and checked at build time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole datum.
    pub message_bytes: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
    /// Entries of one map, over all its blocks.
    pub map_entries: usize,
    /// Records, arrays and maps inside each other.
    pub depth: usize,
    /// Array items that have no bytes of their own, over the whole message.
    pub empty_items: usize,
    /// Bytes of JSON that one datum may become: short records with long names or defaults grow, and a control character
    /// takes six. Twice as much is held while the text grows or is put in order.
    pub json_bytes: usize,
}

impl Limits {
    /// Events from topics: 64 KiB holds the largest event of the catalogue more than a hundred times over.
    pub const EVENT: Self = Self {
        message_bytes: 64 << 10,
        string_bytes: 4 << 10,
        map_entries: 64,
        depth: 16,
        empty_items: 4 << 10,
        json_bytes: 480 << 10,
    };
    /// Records of commit topics: Kafka's default limit of a message.
    pub const COMMIT: Self = Self { message_bytes: 1 << 20, json_bytes: 4 << 20, ..Self::EVENT };
}
