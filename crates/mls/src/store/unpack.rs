//! From the stored form back to values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};

use super::StoreError;
use super::pack::{PartId, part_of};

/// The parts of a value, by name.
pub(super) type Stored = BTreeMap<PartId, std::sync::Arc<zeroize::Zeroizing<Vec<u8>>>>;

/// The value packed in `bytes`, all of them.
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    finish(Unpacker { input: bytes, parts: None })
}

/// The value packed in `bytes`, with its parts.
pub(super) fn unpack_with_parts<T: DeserializeOwned>(
    bytes: &[u8],
    parts: &Stored,
) -> Result<T, StoreError> {
    finish(Unpacker { input: bytes, parts: Some(parts) })
}

fn finish<T: DeserializeOwned>(mut unpacker: Unpacker<'_>) -> Result<T, StoreError> {
    let value = T::deserialize(&mut unpacker)?;
    match unpacker.input.is_empty() {
        true => Ok(value),
        false => Err(StoreError::Damaged),
    }
}

struct Unpacker<'a> {
    input: &'a [u8],
    parts: Option<&'a Stored>,
}

impl<'a> Unpacker<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.input.split_at_checked(count).ok_or(StoreError::Damaged)?;
        self.input = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (taken, rest) = self.input.split_first_chunk().ok_or(StoreError::Damaged)?;
        self.input = rest;
        Ok(*taken)
    }

    fn length(&mut self) -> Result<usize, StoreError> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| StoreError::Damaged)
    }

    fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let length = self.length()?;
        self.take(length)
    }

    /// The part that is referred to here.
    fn part(&mut self) -> Result<Unpacker<'a>, StoreError> {
        let id: PartId = self.array()?;
        let part = self.parts.and_then(|parts| parts.get(&id)).ok_or(StoreError::Damaged)?;
        Ok(Unpacker { input: part, parts: None })
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty => $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
            visitor.$visit(<$number>::from_le_bytes(self.array()?))
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Unpacker<'_> {
    type Error = StoreError;

    numbers!(
        deserialize_i8: i8 => visit_i8, deserialize_i16: i16 => visit_i16,
        deserialize_i32: i32 => visit_i32, deserialize_i64: i64 => visit_i64,
        deserialize_u8: u8 => visit_u8, deserialize_u16: u16 => visit_u16,
        deserialize_u32: u32 => visit_u32, deserialize_u64: u64 => visit_u64,
        deserialize_f32: f32 => visit_f32, deserialize_f64: f64 => visit_f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, StoreError> {
        Err(StoreError::Unsupported)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, StoreError> {
        Err(StoreError::Unsupported)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, StoreError> {
        Err(StoreError::Unsupported)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        match self.array()? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            _ => Err(StoreError::Damaged),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        let number = u32::from_le_bytes(self.array()?);
        visitor.visit_char(char::from_u32(number).ok_or(StoreError::Damaged)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| StoreError::Damaged)?;
        visitor.visit_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        visitor.visit_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        match self.array()? {
            [0] => visitor.visit_none(),
            [1] => visitor.visit_some(self),
            _ => Err(StoreError::Damaged),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        let left = self.length()?;
        visitor.visit_seq(Elements { unpacker: self, left, part: None })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_seq(Elements { unpacker: self, left, part: None })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        self.deserialize_tuple(left, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StoreError> {
        let left = self.length()?;
        visitor.visit_map(Elements { unpacker: self, left, part: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        let left = fields.len();
        let part = part_of(name).filter(|_| self.parts.is_some());
        let part = part.and_then(|part| fields.iter().position(|field| *field == part));
        // Counted from the end, as what is left is.
        let part = part.and_then(|place| left.checked_sub(place));
        visitor.visit_seq(Elements { unpacker: self, left, part })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence, a map or a structure.
struct Elements<'u, 'a> {
    unpacker: &'u mut Unpacker<'a>,
    left: usize,
    /// How many are left when the one that is a part comes.
    part: Option<usize>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, '_> {
    type Error = StoreError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let is_part = self.part == Some(self.left);
        self.left -= 1;
        match is_part {
            true => seed.deserialize(&mut self.unpacker.part()?).map(Some),
            false => seed.deserialize(&mut *self.unpacker).map(Some),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, '_> {
    type Error = StoreError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, StoreError> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, StoreError> {
        seed.deserialize(&mut *self.unpacker)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Unpacker<'_> {
    type Error = StoreError;
    type Variant = Self;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), StoreError> {
        let variant = u32::from_le_bytes(self.array()?);
        let deserializer: de::value::U32Deserializer<StoreError> = variant.into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Unpacker<'_> {
    type Error = StoreError;

    fn unit_variant(self) -> Result<(), StoreError> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, StoreError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_seq(Elements { unpacker: self, left, part: None })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StoreError> {
        visitor.visit_seq(Elements { unpacker: self, left: fields.len(), part: None })
    }
}

impl de::Error for StoreError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::super::pack::pack;
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        New(u64),
        Tuple(u8, String),
        Struct { a: Option<i64>, b: Vec<u8> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Everything {
        kinds: Vec<Kind>,
        map: BTreeMap<u16, (bool, char)>,
        wrapped: Wrapped,
        nothing: (),
        time: std::time::Duration,
        array: [u32; 3],
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Option<Vec<Option<String>>>);

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Unit),
            any::<u64>().prop_map(Kind::New),
            (any::<u8>(), ".*").prop_map(|(number, text)| Kind::Tuple(number, text)),
            (any::<Option<i64>>(), any::<Vec<u8>>()).prop_map(|(a, b)| Kind::Struct { a, b }),
        ]
    }

    proptest! {
        #[test]
        fn values_come_back(
            kinds in prop::collection::vec(kind(), 0..8),
            map in any::<BTreeMap<u16, (bool, char)>>(),
            wrapped in any::<Option<Vec<Option<String>>>>(),
            time in any::<std::time::Duration>(),
            array in any::<[u32; 3]>(),
        ) {
            let value =
                Everything { kinds, map, wrapped: Wrapped(wrapped), nothing: (), time, array };
            let bytes = pack(&value).unwrap();
            prop_assert_eq!(unpack::<Everything>(&bytes).unwrap(), value);
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert!(unpack::<Everything>(&longer).is_err());
            prop_assert!(unpack::<Everything>(&bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn damaged_bytes_are_an_error_and_no_panic(bytes in any::<Vec<u8>>()) {
            let _ = unpack::<Everything>(&bytes);
        }
    }

    #[test]
    fn hash_maps_come_back() {
        let value: HashMap<u8, u8> = (0..9).map(|it| (it, it + 1)).collect();
        assert_eq!(unpack::<HashMap<u8, u8>>(&pack(&value).unwrap()).unwrap(), value);
    }
}
