//! Elements: what a file stores, and what of it an array keeps.
//!
//! Arrays have eight element types, all little-endian. What is narrower or of the other byte order is
//! widened or turned on reading, so that a solver never meets it: booleans and unsigned bytes are
//! `uint8`; other integers of up to 32 bits are `int32`, or `int64` where they would not fit.

use super::source::Fields;
use crate::{DocumentError, ElementType};

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Float {
        bytes: u32,
        big: bool,
    },
    Integer {
        bytes: u32,
        signed: bool,
        big: bool,
    },
    /// Two floats in a compound, anywhere in it.
    Complex {
        part: u32,
        big: bool,
        real: u32,
        imaginary: u32,
        bytes: u32,
    },
    FixedText {
        bytes: u32,
        padding: u8,
    },
    /// Length, collection, index.
    VariableText,
}

impl Coding {
    /// Parses the datatype message, versions 1 to 3. Nesting is followed exactly as far as the
    /// supported types need it, so a datatype of a thousand levels costs nothing.
    pub(super) fn parse(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        let (class, version, bits, bytes) = Self::head(&mut fields)?;
        match class {
            0 | 1 => Self::number(&mut fields, class, bits, bytes),
            3 => {
                if bytes == 0 {
                    return fields.malformed("has no bytes");
                }
                Ok(Self::FixedText { bytes, padding: (bits & 0xf) as u8 })
            }
            6 => Self::compound(fields, version, bits, bytes),
            8 => Self::enumeration(fields, version, bits, bytes),
            9 if bits & 0xf == 1 => {
                if bytes != 16 {
                    return fields.malformed("has a variable-length string that is not 16 bytes");
                }
                Ok(Self::VariableText)
            }
            9 => fields.unsupported("a variable-length sequence"),
            2 => fields.unsupported("a time"),
            4 => fields.unsupported("a bit field"),
            5 => fields.unsupported("opaque bytes"),
            7 => fields.unsupported("a reference"),
            10 => fields.unsupported("an array type"),
            _ => fields.malformed("has an unknown class"),
        }
    }

    fn head(fields: &mut Fields<'_>) -> Result<(u8, u8, u32, u32), DocumentError> {
        let first = fields.u32()?;
        let version = (first >> 4 & 0xf) as u8;
        if !(1..=3).contains(&version) {
            return fields.malformed("has an unknown version");
        }
        Ok(((first & 0xf) as u8, version, first >> 8, fields.u32()?))
    }

    fn number(fields: &mut Fields<'_>, class: u8, bits: u32, bytes: u32) -> Result<Self, DocumentError> {
        let big = bits & 1 != 0;
        let (offset, precision) = (fields.u16()?, fields.u16()?);
        let whole = offset == 0 && u32::from(precision) == bytes.saturating_mul(8);
        if class == 0 {
            if !matches!(bytes, 1 | 2 | 4 | 8) || !whole {
                return fields.unsupported("an integer of an unusual size");
            }
            return Ok(Self::Integer { bytes, signed: bits & 8 != 0, big });
        }
        let shape: [u8; 4] = [fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?];
        let bias = fields.u32()?;
        let mantissa_normal = bits >> 4 & 3 == 2;
        let sign = bits >> 8 & 0xff;
        let usual = match bytes {
            4 => shape == [23, 8, 0, 23] && bias == 127 && sign == 31,
            8 => shape == [52, 11, 0, 52] && bias == 1023 && sign == 63,
            _ => false,
        };
        if !usual || !whole || !mantissa_normal || bits & 0x40 != 0 {
            return fields.unsupported("a float that is not IEEE 754 of 32 or 64 bits");
        }
        Ok(Self::Float { bytes, big })
    }

    /// The compound of `r` and `i`; any other is refused.
    fn compound(mut fields: Fields<'_>, version: u8, bits: u32, bytes: u32) -> Result<Self, DocumentError> {
        if bits & 0xffff != 2 {
            return fields.unsupported("a compound that is not a complex number {r, i}");
        }
        let mut found = [None, None];
        for _ in 0..2 {
            let name = member_name(&mut fields, version)?;
            let offset = match version {
                1 | 2 => fields.u32()?,
                // As many bytes as the compound's size needs.
                _ => {
                    let mut offset = 0;
                    for index in 0..bytes.ilog2() / 8 + 1 {
                        offset |= u32::from(fields.u8()?) << (8 * index);
                    }
                    offset
                }
            };
            if version == 1 {
                let rank = fields.u8()?;
                fields.take(27)?;
                if rank != 0 {
                    return fields.unsupported("an array in a compound");
                }
            }
            let (class, _, bits, size) = Self::head(&mut fields)?;
            let slot = match name {
                b"r" => &mut found[0],
                b"i" => &mut found[1],
                _ => return fields.unsupported("a compound that is not a complex number {r, i}"),
            };
            if class != 1 {
                return fields.unsupported("a complex number of other than floats");
            }
            *slot = Some((Self::number(&mut fields, class, bits, size)?, offset));
        }
        match found {
            [
                Some((Self::Float { bytes: part, big }, real)),
                Some((Self::Float { bytes: other_part, big: other_big }, imaginary)),
            ] if part == other_part && big == other_big => {
                if [real, imaginary]
                    .iter()
                    .any(|&offset| offset.checked_add(part).is_none_or(|end| end > bytes))
                {
                    return fields.malformed("has a member outside its compound");
                }
                Ok(Self::Complex { part, big, real, imaginary, bytes })
            }
            _ => fields.unsupported("a complex number whose parts differ in type"),
        }
    }

    /// The enumeration `FALSE`, `TRUE` over bytes, which is how h5py stores booleans.
    fn enumeration(
        mut fields: Fields<'_>,
        version: u8,
        bits: u32,
        bytes: u32,
    ) -> Result<Self, DocumentError> {
        let (class, _, base_bits, base_bytes) = Self::head(&mut fields)?;
        if class != 0 || base_bytes != 1 || bytes != 1 || bits & 0xffff != 2 {
            return fields.unsupported("an enumeration that is not a boolean");
        }
        Self::number(&mut fields, 0, base_bits, base_bytes)?;
        let names = [member_name(&mut fields, version)?, member_name(&mut fields, version)?];
        if names != [b"FALSE".as_slice(), b"TRUE".as_slice()] || fields.take(2)? != [0, 1] {
            return fields.unsupported("an enumeration that is not a boolean");
        }
        Ok(Self::Integer { bytes: 1, signed: false, big: false })
    }

    /// Bytes per element in the file, at least one.
    pub(super) fn stored_bytes(self) -> u64 {
        u64::from(match self {
            Self::Float { bytes, .. }
            | Self::Integer { bytes, .. }
            | Self::Complex { bytes, .. }
            | Self::FixedText { bytes, .. } => bytes,
            Self::VariableText => 16,
        })
    }

    /// What the array holds.
    pub(super) fn element_type(self) -> ElementType {
        match self {
            Self::Float { bytes: 4, .. } => ElementType::Float32,
            Self::Float { .. } => ElementType::Float64,
            Self::Integer { bytes: 1, signed: false, .. } => ElementType::Uint8,
            Self::Integer { bytes: 1 | 2, .. } | Self::Integer { bytes: 4, signed: true, .. } => {
                ElementType::Int32
            }
            Self::Integer { .. } => ElementType::Int64,
            Self::Complex { part: 4, .. } => ElementType::Complex64,
            Self::Complex { .. } => ElementType::Complex128,
            Self::FixedText { .. } | Self::VariableText => ElementType::Text,
        }
    }

    /// Whether the stored bytes are the array's bytes.
    pub(super) fn is_verbatim(self) -> bool {
        match self {
            Self::Float { big, .. } => !big,
            Self::Integer { bytes: 1, signed, .. } => !signed,
            Self::Integer { bytes: 4 | 8, signed, big } => signed && !big,
            Self::Integer { .. } | Self::FixedText { .. } | Self::VariableText => false,
            Self::Complex { part, big, real, imaginary, bytes } => {
                !big && real == 0 && imaginary == part && bytes == 2 * part
            }
        }
    }

    /// Appends whole numbers, converted, to the array's bytes. Not for text.
    pub(super) fn convert(self, stored: &[u8], output: &mut Vec<u8>) -> Result<(), DocumentError> {
        let size = self.stored_bytes() as usize;
        match self {
            _ if self.is_verbatim() => output.extend_from_slice(stored),
            Self::Float { big, .. } => {
                for element in stored.chunks_exact(size) {
                    push_ordered(element, big, output);
                }
            }
            Self::Integer { signed, big, .. } => {
                let wide = self.element_type() == ElementType::Int64;
                for element in stored.chunks_exact(size) {
                    let value = integer(element, signed, big);
                    match i64::try_from(value) {
                        Ok(value) if wide => output.extend_from_slice(&value.to_le_bytes()),
                        // Narrower than 32 bits by the choice of the element type.
                        Ok(value) => output.extend_from_slice(&(value as i32).to_le_bytes()),
                        Err(_) => {
                            return Err(DocumentError::unsupported(
                                format!("the integer {value}, which exceeds 63 bits"),
                                "an array",
                            ));
                        }
                    }
                }
            }
            Self::Complex { part, big, real, imaginary, .. } => {
                for element in stored.chunks_exact(size) {
                    for offset in [real as usize, imaginary as usize] {
                        push_ordered(&element[offset..offset + part as usize], big, output);
                    }
                }
            }
            Self::FixedText { .. } | Self::VariableText => {}
        }
        Ok(())
    }
}

/// A member's name: zero-terminated, and padded to a multiple of 8 before version 3.
fn member_name<'b>(fields: &mut Fields<'b>, version: u8) -> Result<&'b [u8], DocumentError> {
    let Some(length) = fields.rest().iter().position(|&byte| byte == 0) else {
        return fields.malformed("has a member's name without an end");
    };
    let padded = if version < 3 { (length + 1).next_multiple_of(8) } else { length + 1 };
    Ok(&fields.take(padded)?[..length])
}

fn push_ordered(element: &[u8], big: bool, output: &mut Vec<u8>) {
    if big { output.extend(element.iter().rev()) } else { output.extend_from_slice(element) }
}

fn integer(element: &[u8], signed: bool, big: bool) -> i128 {
    let mut bytes = [0; 16];
    for (index, &byte) in element.iter().enumerate() {
        bytes[if big { element.len() - 1 - index } else { index }] = byte;
    }
    let value = i128::from_le_bytes(bytes);
    let unused = 128 - 8 * element.len() as u32;
    if signed { value << unused >> unused } else { value }
}
