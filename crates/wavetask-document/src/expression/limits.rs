//! How large an expression may be.

/// How much an expression may ask for. Each excess is refused with
/// [`ExpressionError::TooLarge`](super::ExpressionError::TooLarge), which names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionLimits {
    /// Bytes of JSON text. Default 16 MiB.
    pub json_bytes: u64,
    /// Operations within one another. Default 40: each is up to three levels of JSON, of which parsers take 128.
    pub depth: u64,
    /// Operations, fields and literals together. Default 4096.
    pub nodes: u64,
    /// Labels, indices and values that are written out in the expression. Default 1,000,000.
    pub literals: u64,
    /// Labels and places held at once to find out what is read: of every operation those that it makes. Default 2^23.
    pub labels: u64,
    /// Elements of one array, the result or one on the way to it. Default 2^27: a gibibyte of floats.
    pub elements: u64,
    /// Bytes that evaluation may hold at once. Default 8 GiB.
    pub memory_bytes: u64,
    /// Element operations in all: about a nanosecond each. Default 2^34.
    pub work: u64,
    /// Bytes that are read of all fields together. Default 4 GiB.
    pub bytes_read: u64,
}

impl Default for ExpressionLimits {
    fn default() -> Self {
        Self {
            json_bytes: 16 << 20,
            depth: 40,
            nodes: 4096,
            literals: 1_000_000,
            labels: 1 << 23,
            elements: 1 << 27,
            memory_bytes: 8 << 30,
            work: 1 << 34,
            bytes_read: 4 << 30,
        }
    }
}
