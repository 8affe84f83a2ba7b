//! Logical types: what the bytes of a type mean. One that does not fit its type is ignored (Avro 1.12, "Logical Types").

use super::Kind;
use serde_json::{Map, Value as Json};

/// A logical type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// A decimal number: the unscaled value as big-endian two's complement.
    Decimal {
        /// Digits at most.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// A decimal that carries its scale.
    BigDecimal,
    /// A UUID, as text or 16 bytes.
    Uuid,
    /// Days since the epoch.
    Date,
    /// Milliseconds of the day.
    TimeMillis,
    /// Microseconds of the day.
    TimeMicros,
    /// Milliseconds since the epoch.
    TimestampMillis,
    /// Microseconds since the epoch.
    TimestampMicros,
    /// Nanoseconds since the epoch.
    TimestampNanos,
    /// Milliseconds since the epoch, in no zone.
    LocalTimestampMillis,
    /// Microseconds since the epoch, in no zone.
    LocalTimestampMicros,
    /// Nanoseconds since the epoch, in no zone.
    LocalTimestampNanos,
    /// Months, days and milliseconds in 12 bytes.
    Duration,
}

impl Logical {
    /// Avro's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Decimal { .. } => "decimal",
            Self::BigDecimal => "big-decimal",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::TimeMillis => "time-millis",
            Self::TimeMicros => "time-micros",
            Self::TimestampMillis => "timestamp-millis",
            Self::TimestampMicros => "timestamp-micros",
            Self::TimestampNanos => "timestamp-nanos",
            Self::LocalTimestampMillis => "local-timestamp-millis",
            Self::LocalTimestampMicros => "local-timestamp-micros",
            Self::LocalTimestampNanos => "local-timestamp-nanos",
            Self::Duration => "duration",
        }
    }

    /// The logical type in the attributes of a type; `None` if there is none or it does not fit.
    pub(super) fn read(attributes: &Map<String, Json>, kind: &Kind) -> Option<Self> {
        let word = attributes.get("logicalType")?.as_str()?;
        match (word, kind) {
            ("decimal", Kind::Bytes | Kind::Fixed(_)) => decimal(attributes, kind),
            ("big-decimal", Kind::Bytes) => Some(Self::BigDecimal),
            ("uuid", Kind::String) => Some(Self::Uuid),
            ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Some(Self::Uuid),
            ("date", Kind::Int) => Some(Self::Date),
            ("time-millis", Kind::Int) => Some(Self::TimeMillis),
            ("time-micros", Kind::Long) => Some(Self::TimeMicros),
            ("timestamp-millis", Kind::Long) => Some(Self::TimestampMillis),
            ("timestamp-micros", Kind::Long) => Some(Self::TimestampMicros),
            ("timestamp-nanos", Kind::Long) => Some(Self::TimestampNanos),
            ("local-timestamp-millis", Kind::Long) => Some(Self::LocalTimestampMillis),
            ("local-timestamp-micros", Kind::Long) => Some(Self::LocalTimestampMicros),
            ("local-timestamp-nanos", Kind::Long) => Some(Self::LocalTimestampNanos),
            ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Some(Self::Duration),
            _ => None,
        }
    }
}

fn decimal(attributes: &Map<String, Json>, kind: &Kind) -> Option<Logical> {
    let precision = u32::try_from(attributes.get("precision")?.as_u64()?).ok().filter(|p| *p > 0)?;
    let scale = match attributes.get("scale") {
        None => 0,
        Some(scale) => u32::try_from(scale.as_u64()?).ok()?,
    };
    let fits = match kind {
        // Digits that n bytes hold: floor(log10(2^(8n-1) - 1)).
        Kind::Fixed(fixed) if fixed.size > 0 => {
            f64::from(precision) <= ((8.0 * fixed.size as f64 - 1.0) * std::f64::consts::LOG10_2).floor()
        }
        Kind::Fixed(_) => false,
        _ => true,
    };
    (scale <= precision && fits).then_some(Logical::Decimal { precision, scale })
}
