//! Arrays as bytes: little-endian elements in C order, strings behind their lengths.

use crate::{Array, DocumentError, ElementType, Values};

impl ElementType {
    /// The name used in descriptors and digests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Float32 => "float32",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Uint8 => "uint8",
            Self::Complex128 => "complex128",
            Self::Complex64 => "complex64",
            Self::Text => "text",
        }
    }
}

impl Values {
    /// Hands the bytes over piece by piece, each of at most about `piece` bytes, so that a large
    /// array is never held twice. Pieces end between elements; only strings may exceed `piece`.
    pub(crate) fn for_each_piece<E>(
        &self,
        piece: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        macro_rules! pieces {
            ($values:expr, $size:expr, $encode:expr) => {{
                let mut bytes = Vec::new();
                for part in $values.chunks((piece / $size).max(1)) {
                    bytes.clear();
                    bytes.extend(part.iter().flat_map($encode));
                    take(&bytes)?;
                }
            }};
        }
        match self {
            Self::Float64(values) => pieces!(values, 8, |value| value.to_le_bytes()),
            Self::Float32(values) => pieces!(values, 4, |value| value.to_le_bytes()),
            Self::Int64(values) => pieces!(values, 8, |value| value.to_le_bytes()),
            Self::Int32(values) => pieces!(values, 4, |value| value.to_le_bytes()),
            Self::Uint8(values) => {
                for part in values.chunks(piece.max(1)) {
                    take(part)?;
                }
            }
            Self::Complex128(values) => {
                pieces!(values, 16, |value: &[f64; 2]| value
                    .iter()
                    .flat_map(|part| part.to_le_bytes())
                    .collect::<Vec<_>>());
            }
            Self::Complex64(values) => {
                pieces!(values, 8, |value: &[f32; 2]| value
                    .iter()
                    .flat_map(|part| part.to_le_bytes())
                    .collect::<Vec<_>>());
            }
            Self::Text(values) => {
                let mut bytes = Vec::new();
                for text in values {
                    push_text(&mut bytes, text);
                    if bytes.len() >= piece {
                        take(&bytes)?;
                        bytes.clear();
                    }
                }
                if !bytes.is_empty() {
                    take(&bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Empty values of this type, with room for `count` elements.
    pub(crate) fn with_capacity(element_type: ElementType, count: usize) -> Self {
        match element_type {
            ElementType::Float64 => Self::Float64(Vec::with_capacity(count)),
            ElementType::Float32 => Self::Float32(Vec::with_capacity(count)),
            ElementType::Int64 => Self::Int64(Vec::with_capacity(count)),
            ElementType::Int32 => Self::Int32(Vec::with_capacity(count)),
            ElementType::Uint8 => Self::Uint8(Vec::with_capacity(count)),
            ElementType::Complex128 => Self::Complex128(Vec::with_capacity(count)),
            ElementType::Complex64 => Self::Complex64(Vec::with_capacity(count)),
            ElementType::Text => Self::Text(Vec::with_capacity(count)),
        }
    }

    /// Appends elements from whole elements' bytes. Strings must come all at once.
    pub(crate) fn extend_from_bytes(&mut self, bytes: &[u8]) -> Result<(), DocumentError> {
        match self {
            Self::Float64(values) => values.extend(words(bytes).map(f64::from_le_bytes)),
            Self::Float32(values) => values.extend(words(bytes).map(f32::from_le_bytes)),
            Self::Int64(values) => values.extend(words(bytes).map(i64::from_le_bytes)),
            Self::Int32(values) => values.extend(words(bytes).map(i32::from_le_bytes)),
            Self::Uint8(values) => values.extend_from_slice(bytes),
            Self::Complex128(values) => values.extend(bytes.as_chunks::<16>().0.iter().map(|pair| {
                let (parts, _) = pair.as_chunks::<8>();
                [f64::from_le_bytes(parts[0]), f64::from_le_bytes(parts[1])]
            })),
            Self::Complex64(values) => values.extend(bytes.as_chunks::<8>().0.iter().map(|pair| {
                let (parts, _) = pair.as_chunks::<4>();
                [f32::from_le_bytes(parts[0]), f32::from_le_bytes(parts[1])]
            })),
            Self::Text(values) => {
                for text in texts(bytes) {
                    values.push(text?.to_owned());
                }
            }
        }
        Ok(())
    }
}

impl Array {
    /// The array's bytes as blocks hold them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let result: Result<(), std::convert::Infallible> = self.values().for_each_piece(1 << 16, |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        });
        match result {
            Ok(()) => all,
        }
    }
}

fn words<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> + '_ {
    bytes.as_chunks::<SIZE>().0.iter().copied()
}

/// Appends a string behind its length. [`Array::store`] refuses strings whose length does not fit.
pub(crate) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..length as usize]);
}

/// The strings in the bytes of a text array.
pub(crate) fn texts(mut bytes: &[u8]) -> impl Iterator<Item = Result<&str, DocumentError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let text = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, rest) = rest.split_at_checked(length)?;
            bytes = rest;
            std::str::from_utf8(text).ok()
        });
        if text.is_none() {
            bytes = &[];
        }
        Some(text.ok_or_else(|| DocumentError::malformed("not the bytes of strings", "a text array")))
    })
}
