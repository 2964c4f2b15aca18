//! The wire codec: strict, canonical, bounded TLS presentation language.
//!
//! Structures derive their encoding with `tls_codec`; this module adds the bounds that a
//! bare vector lacks and one entry point that refuses trailing bytes (ENC-001, ENC-002).

use std::io::Write;
use std::ops::Deref;

use tls_codec::{DeserializeBytes, Serialize, Size, TlsVarInt, VLByteSlice};

/// Why a byte string is not the canonical encoding of the expected structure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early, hold an unknown discriminant, or encode a length twice over.
    #[error("not a canonical encoding: {0}")]
    Malformed(String),
    /// Bytes follow the structure (ENC-001).
    #[error("{trailing} bytes follow the structure")]
    Trailing {
        /// How many bytes were left over.
        trailing: usize,
    },
}

/// A vector is longer than its type allows (ENC-002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("length {length} exceeds the maximum of {maximum}")]
pub struct LengthError {
    /// The length found, in bytes or elements.
    pub length: usize,
    /// The largest length allowed, in the same unit.
    pub maximum: usize,
}

/// A structure with exactly one encoding.
pub trait Wire: Sized {
    /// The canonical bytes.
    ///
    /// # Panics
    /// When a vector's elements together exceed 2³⁰ − 1 bytes, which no message comes near.
    fn to_wire(&self) -> Vec<u8>;

    /// Decodes `bytes`, all of them.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not the canonical encoding (ENC-001, ENC-002).
    fn from_wire(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl<T: Serialize + DeserializeBytes + Size> Wire for T {
    fn to_wire(&self) -> Vec<u8> {
        self.tls_serialize_detached().expect("no message comes near a vector of 2^30 bytes")
    }

    fn from_wire(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (value, rest) = T::tls_deserialize_bytes(bytes)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        match rest.len() {
            0 => Ok(value),
            trailing => Err(DecodeError::Trailing { trailing }),
        }
    }
}

/// An opaque byte string of at most `MAX` bytes, encoded as `opaque<V>` of RFC 9420 §2.1.2.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct BoundedBytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> BoundedBytes<MAX> {
    /// Wraps `bytes`.
    ///
    /// # Errors
    /// [`LengthError`] when there are more than `MAX` bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, LengthError> {
        match bytes.len() {
            length if length > MAX => Err(LengthError { length, maximum: MAX }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes, given up.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for BoundedBytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for BoundedBytes<MAX> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "BoundedBytes({} bytes)", self.0.len())
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for BoundedBytes<MAX> {
    type Error = LengthError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, LengthError> {
        Self::new(bytes)
    }
}

impl<const MAX: usize> Size for BoundedBytes<MAX> {
    fn tls_serialized_len(&self) -> usize {
        VLByteSlice(&self.0).tls_serialized_len()
    }
}

impl<const MAX: usize> Serialize for BoundedBytes<MAX> {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
        VLByteSlice(&self.0).tls_serialize(writer)
    }
}

impl<const MAX: usize> DeserializeBytes for BoundedBytes<MAX> {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
        // Not through `VLBytes`, which asserts in debug builds that its input is long enough.
        let (length, rest) = TlsVarInt::tls_deserialize_bytes(bytes)?;
        let length = usize::try_from(length.value()).unwrap_or(usize::MAX);
        if length > MAX {
            return Err(too_long(LengthError { length, maximum: MAX }));
        }
        let (value, rest) = rest.split_at_checked(length).ok_or(tls_codec::Error::EndOfStream)?;
        Ok((Self(value.to_vec()), rest))
    }
}

/// A sequence of at most `MAX` elements, encoded as `T name<V>` of RFC 9420 §2.1.2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BoundedVec<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedVec<T, MAX> {
    /// Wraps `elements`.
    ///
    /// # Errors
    /// [`LengthError`] when there are more than `MAX` elements.
    pub fn new(elements: Vec<T>) -> Result<Self, LengthError> {
        match elements.len() {
            length if length > MAX => Err(LengthError { length, maximum: MAX }),
            _ => Ok(Self(elements)),
        }
    }

    /// The elements, given up.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for BoundedVec<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for BoundedVec<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for BoundedVec<T, MAX> {
    type Error = LengthError;

    fn try_from(elements: Vec<T>) -> Result<Self, LengthError> {
        Self::new(elements)
    }
}

impl<T: Size, const MAX: usize> Size for BoundedVec<T, MAX> {
    fn tls_serialized_len(&self) -> usize {
        self.0.tls_serialized_len()
    }
}

impl<T: Serialize + std::fmt::Debug, const MAX: usize> Serialize for BoundedVec<T, MAX> {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
        self.0.tls_serialize(writer)
    }
}

impl<T: DeserializeBytes, const MAX: usize> DeserializeBytes for BoundedVec<T, MAX> {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
        let (elements, rest) = Vec::<T>::tls_deserialize_bytes(bytes)?;
        Ok((Self::new(elements).map_err(too_long)?, rest))
    }
}

fn too_long(error: LengthError) -> tls_codec::Error {
    tls_codec::Error::DecodingError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_trailing_bytes() {
        // covers: ENC-001
        let mut bytes = 7u32.to_wire();
        bytes.push(0);
        assert_eq!(u32::from_wire(&bytes), Err(DecodeError::Trailing { trailing: 1 }));
    }

    #[test]
    fn refuses_vectors_over_their_bound() {
        // covers: ENC-002
        let bytes = BoundedBytes::<8>::new(vec![1; 8]).unwrap().to_wire();
        assert!(BoundedBytes::<8>::from_wire(&bytes).is_ok());
        assert!(BoundedBytes::<7>::from_wire(&bytes).is_err());
        assert!(BoundedVec::<u8, 3>::new(vec![0; 4]).is_err());
    }

    #[test]
    fn refuses_bytes_that_end_early() {
        // covers: ENC-001
        assert!(BoundedBytes::<8>::from_wire(&[]).is_err());
        assert!(BoundedBytes::<8>::from_wire(&[3, 1, 2]).is_err());
        assert!(BoundedVec::<u16, 8>::from_wire(&[4, 1, 2]).is_err());
        assert!(BoundedBytes::<8>::from_wire(&[0xff; 8]).is_err());
    }

    #[test]
    fn refuses_lengths_in_longer_form_than_needed() {
        // covers: ENC-001
        assert_eq!(BoundedBytes::<8>::from_wire(&[1, 9]).unwrap().to_vec(), vec![9]);
        assert!(BoundedBytes::<8>::from_wire(&[0x40, 1, 9]).is_err());
    }
}
