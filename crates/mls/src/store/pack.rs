//! The stored form of openmls' values: compact bytes, not for any wire.
//!
//! Numbers are little-endian, lengths and variants 32 bits, an absent option one zero byte.
//! What never changes while an epoch lasts, and would be most of what each message writes, is
//! packed once and then referred to: the members of past epochs and the group contexts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::ser::{self, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;

/// Names a part by the secrets of its epoch.
pub(super) type PartId = [u8; 16];

/// The parts of one value.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Those that are stored.
    pub(super) known: BTreeSet<PartId>,
    /// Those that are to be stored.
    pub(super) fresh: BTreeMap<PartId, Vec<u8>>,
    /// All that the value refers to.
    pub(super) used: BTreeSet<PartId>,
}

/// The packed form of `value`.
pub(super) fn pack(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut packer = Packer { out: Vec::new(), parts: None, epoch: [0; 16] };
    value.serialize(&mut packer)?;
    Ok(packer.out)
}

/// The packed form of `value` without its parts.
pub(super) fn pack_in_parts(
    value: &impl Serialize,
    parts: &mut Parts,
) -> Result<Vec<u8>, StoreError> {
    let mut packer = Packer { out: Vec::new(), parts: Some(parts), epoch: [0; 16] };
    value.serialize(&mut packer)?;
    Ok(packer.out)
}

/// Which field of which structure is a part, if any.
pub(super) fn part_of(structure: &str) -> Option<&'static str> {
    match structure {
        "MessageSecrets" => Some("serialized_context"),
        "EpochTree" => Some("leaves"),
        _ => None,
    }
}

struct Packer<'a> {
    out: Vec<u8>,
    parts: Option<&'a mut Parts>,
    /// Named by the secrets that were packed last.
    epoch: PartId,
}

impl Packer<'_> {
    fn length(&mut self, length: usize) -> Result<(), StoreError> {
        let length = u32::try_from(length).map_err(|_| StoreError::TooLong)?;
        self.out.extend_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Puts a reference in the place of `value`, and packs it unless that was done before.
    fn part(&mut self, id: PartId, value: &(impl Serialize + ?Sized)) -> Result<(), StoreError> {
        self.out.extend_from_slice(&id);
        let Some(parts) = &mut self.parts else { return Ok(()) };
        if parts.used.insert(id) && !parts.known.contains(&id) {
            let mut packer = Packer { out: Vec::new(), parts: None, epoch: id };
            value.serialize(&mut packer)?;
            parts.fresh.insert(id, packer.out);
        }
        Ok(())
    }
}

fn part_id(label: &[u8], bytes: &[u8]) -> PartId {
    let hash = Sha256::new().chain_update(label).chain_update(bytes).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

macro_rules! numbers {
    ($($method:ident: $number:ty),*) => {
        $(fn $method(self, value: $number) -> Result<(), StoreError> {
            self.out.extend_from_slice(&value.to_le_bytes());
            Ok(())
        })*
    };
}

impl<'p, 'a> ser::Serializer for &'p mut Packer<'a> {
    type Ok = ();
    type Error = StoreError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = StructPacker<'p, 'a>;
    type SerializeStructVariant = Self;

    numbers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64
    );

    fn serialize_u8(self, value: u8) -> Result<(), StoreError> {
        self.out.push(value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), StoreError> {
        self.serialize_u8(u8::from(value))
    }

    fn serialize_char(self, value: char) -> Result<(), StoreError> {
        self.serialize_u32(u32::from(value))
    }

    fn serialize_str(self, value: &str) -> Result<(), StoreError> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), StoreError> {
        self.length(value.len())?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), StoreError> {
        self.serialize_u8(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), StoreError> {
        self.out.push(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), StoreError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), StoreError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
    ) -> Result<(), StoreError> {
        self.serialize_u32(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        self.out.extend_from_slice(&variant.to_le_bytes());
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, StoreError> {
        self.length(length.ok_or(StoreError::Unsupported)?)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, StoreError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, StoreError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, StoreError> {
        self.out.extend_from_slice(&variant.to_le_bytes());
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, StoreError> {
        self.serialize_seq(length)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, StoreError> {
        let part = part_of(name).filter(|_| self.parts.is_some());
        let start = self.out.len();
        Ok(StructPacker { packer: self, name, part, start })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, StoreError> {
        self.out.extend_from_slice(&variant.to_le_bytes());
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! elements {
    ($($kind:ident::$method:ident),*) => {
        $(impl ser::$kind for &mut Packer<'_> {
            type Ok = ();
            type Error = StoreError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), StoreError> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), StoreError> {
                Ok(())
            }
        })*
    };
}

elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl ser::SerializeMap for &mut Packer<'_> {
    type Ok = ();
    type Error = StoreError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), StoreError> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), StoreError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for &mut Packer<'_> {
    type Ok = ();
    type Error = StoreError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct StructPacker<'p, 'a> {
    packer: &'p mut Packer<'a>,
    name: &'static str,
    /// The field that is a part.
    part: Option<&'static str>,
    start: usize,
}

impl ser::SerializeStruct for StructPacker<'_, '_> {
    type Ok = ();
    type Error = StoreError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        if self.part != Some(key) {
            return value.serialize(&mut *self.packer);
        }
        if self.name == "MessageSecrets" {
            // What stands before the context are the epoch's secrets, which no other epoch has.
            let secrets = self.packer.out.get(self.start..).unwrap_or_default();
            self.packer.epoch = part_id(b"secrets", secrets);
        }
        let id = part_id(self.name.as_bytes(), &self.packer.epoch);
        self.packer.part(id, value)
    }

    fn end(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ser::Error for StoreError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }
}
