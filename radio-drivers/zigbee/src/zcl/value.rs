//! Attribute values (ZCL §2.6.2). Arrays, structures, sets and bags are not read: no attribute here has them.

use crate::wire::{DecodeError, Reader};

/// The type of a value, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataType(pub u8);

/// How many bytes a value has.
enum Size {
    Fixed(usize),
    /// One byte counts them; 0xFF: invalid, none.
    Short,
    /// Two bytes count them; 0xFFFF: invalid, none.
    Long,
}

impl DataType {
    /// 0 or 1.
    pub const BOOLEAN: Self = Self(0x10);
    /// 8 flags.
    pub const BITMAP8: Self = Self(0x18);
    /// Unsigned, 8 bits.
    pub const UINT8: Self = Self(0x20);
    /// Unsigned, 16 bits.
    pub const UINT16: Self = Self(0x21);
    /// Unsigned, 32 bits.
    pub const UINT32: Self = Self(0x23);
    /// Signed, 32 bits.
    pub const INT32: Self = Self(0x2B);
    /// One of a list, 8 bits.
    pub const ENUM8: Self = Self(0x30);
    /// Bytes.
    pub const OCTETS: Self = Self(0x41);
    /// Characters.
    pub const TEXT: Self = Self(0x42);
    /// Seconds since 2000-01-01 UTC.
    pub const UTC: Self = Self(0xE2);

    fn size(self) -> Result<Size, DecodeError> {
        Ok(Size::Fixed(match self.0 {
            0x00 | 0xFF => 0,
            0x10 | 0x30 => 1,
            0x31 | 0x38 | 0xE8 | 0xE9 => 2,
            0x39 | 0xE0..=0xE2 | 0xEA => 4,
            0x3A | 0xF0 => 8,
            0xF1 => 16,
            // Data, bitmaps, unsigned and signed integers of 1 to 8 bytes.
            0x08..=0x0F | 0x18..=0x2F => usize::from(self.0 & 7).saturating_add(1),
            0x41 | 0x42 => return Ok(Size::Short),
            0x43 | 0x44 => return Ok(Size::Long),
            _ => return Err(DecodeError::Field("the ZCL data type")),
        }))
    }

    /// True for types that have a reportable change: numbers and times.
    pub(super) fn is_analog(self) -> bool {
        matches!(self.0, 0x20..=0x2F | 0x38..=0x3A | 0xE0..=0xE2)
    }
}

/// A value as it came: its type and its bytes, lengths left out.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    data_type: DataType,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.unsigned() {
            Some(number) => write!(f, "Value({:#04x}: {number})", self.data_type.0),
            None => write!(f, "Value({:#04x}: {} bytes)", self.data_type.0, self.bytes.len()),
        }
    }
}

impl Value {
    /// A number of an unsigned, signed (in two's complement), boolean, enumerated, bitmap or time type; the type's size decides how much of it counts.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for a type of another kind.
    pub fn number(data_type: DataType, number: u64) -> Result<Self, DecodeError> {
        match data_type.size()? {
            Size::Fixed(size) if size <= 8 => {
                Ok(Self { data_type, bytes: number.to_le_bytes().into_iter().take(size).collect() })
            }
            _ => Err(DecodeError::Field("the ZCL data type")),
        }
    }

    /// Characters, at most 254 bytes of them.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for more.
    pub fn string(text: &str) -> Result<Self, DecodeError> {
        if text.len() >= usize::from(u8::MAX) {
            return Err(DecodeError::Field("the length of a ZCL string"));
        }
        Ok(Self { data_type: DataType::TEXT, bytes: text.as_bytes().to_vec() })
    }

    /// Its type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The number, of types that are not signed, floating, or longer than 8 bytes.
    #[must_use]
    pub fn unsigned(&self) -> Option<u64> {
        if !matches!(self.data_type.0, 0x08..=0x10 | 0x18..=0x27 | 0x30 | 0x31 | 0xE0..=0xE2 | 0xE8..=0xEA) {
            return None;
        }
        Some(self.bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The number, of signed types.
    #[must_use]
    pub fn signed(&self) -> Option<i64> {
        if !matches!(self.data_type.0, 0x28..=0x2F) {
            return None;
        }
        let sign = if self.bytes.last()? & 0x80 == 0 { 0 } else { -1 };
        Some(self.bytes.iter().rev().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
    }

    /// The characters, of strings. What is not UTF-8 or not printable is replaced.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        matches!(self.data_type.0, 0x42 | 0x44).then(|| {
            let text = String::from_utf8_lossy(&self.bytes);
            text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
        })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let data_type = DataType(reader.u8()?);
        Self::read_of(data_type, reader)
    }

    pub(super) fn read_of(data_type: DataType, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = match data_type.size()? {
            Size::Fixed(size) => size,
            Size::Short => match reader.u8()? {
                u8::MAX => 0,
                size => size.into(),
            },
            Size::Long => match reader.u16()? {
                u16::MAX => 0,
                size => size.into(),
            },
        };
        Ok(Self { data_type, bytes: reader.take(size)?.to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.data_type.0);
        self.write_untyped(out);
    }

    pub(super) fn write_untyped(&self, out: &mut Vec<u8>) {
        match self.data_type.size() {
            Ok(Size::Short) => out.push(u8::try_from(self.bytes.len()).unwrap_or(u8::MAX)),
            Ok(Size::Long) => {
                out.extend_from_slice(&u16::try_from(self.bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
            }
            Ok(Size::Fixed(_)) | Err(_) => {}
        }
        out.extend_from_slice(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hex: &str) -> Value {
        let bytes = hex::decode(hex).unwrap();
        let mut reader = Reader::new(&bytes);
        let value = Value::read(&mut reader).unwrap();
        reader.finish().unwrap();
        let mut out = Vec::new();
        value.write(&mut out);
        assert_eq!(hex::encode(out), hex);
        value
    }

    #[test]
    fn values_are_these_bytes() {
        assert_eq!(read("3001").unsigned(), Some(1));
        assert_eq!(read("21341b").unsigned(), Some(0x1B34));
        assert_eq!(read("20c8").unsigned(), Some(200));
        assert_eq!(read("22563412").unsigned(), Some(0x12_3456));
        assert_eq!(read("27ffffffffffffffff").unsigned(), Some(u64::MAX));
        assert_eq!(read("28ff").signed(), Some(-1));
        assert_eq!(read("29feff").signed(), Some(-2));
        assert_eq!(read("2a000080").signed(), Some(-8_388_608));
        assert_eq!(read("2fffffffffffffff7f").signed(), Some(i64::MAX));
        assert_eq!(read("42044c4f434b").text().as_deref(), Some("LOCK"));
        assert_eq!(read("4200").text().as_deref(), Some(""));
        assert_eq!(read("4203410a42").text().as_deref(), Some("A\u{FFFD}B"));
        assert_eq!(read("41021234").unsigned(), None);
        assert_eq!(Value::number(DataType::UINT16, 0x1B34), Ok(read("21341b")));
    }

    #[test]
    fn an_invalid_string_is_empty_and_unknown_types_are_refused() {
        let value = Value::read(&mut Reader::new(&[0x42, 0xFF])).unwrap();
        assert_eq!(value.text().as_deref(), Some(""));
        for kind in [0x48, 0x4C, 0x50, 0x51, 0x32, 0x80] {
            let error = Value::read(&mut Reader::new(&[kind, 0, 0, 0])).unwrap_err();
            assert_eq!(error, DecodeError::Field("the ZCL data type"));
        }
        assert_eq!(Value::read(&mut Reader::new(&[0x41, 5, 1])), Err(DecodeError::Short));
    }

    #[test]
    fn strings_are_these_bytes_and_no_longer_than_their_length_can_say() {
        let mut out = Vec::new();
        Value::string("lock").unwrap().write(&mut out);
        assert_eq!(hex::encode(out), "42046c6f636b");
        assert!(Value::string(&"x".repeat(254)).is_ok());
        assert_eq!(Value::string(&"x".repeat(255)), Err(DecodeError::Field("the length of a ZCL string")));
    }

    #[test]
    fn debug_shows_numbers_and_no_bytes() {
        assert_eq!(
            format!("{:?} {:?}", read("3001"), read("410431323334")),
            "Value(0x30: 1) Value(0x41: 4 bytes)"
        );
    }
}
