//! The structural check of a body before it is decoded. The codec crate believes array counts (a five-byte Metadata
//! request makes it allocate two thousand million elements), so every length and count is first held against the
//! bytes that are there, null against the version, tagged sections against their sizes, and the number of elements
//! against a budget. One pass, no allocation, no state. In Kafka the generated readers check while they read.

use super::fault::{Malformed, ProtocolError};
use super::schema::{Field, Schema, Type};
use super::{api, wire::Cursor};

/// Most elements a request may have: strings, bytes, structures and unknown tagged fields count one each, primitive
/// arrays nothing (their size in memory is their size on the wire). A decoded structure takes some 100 to 200 bytes.
const CLIENT_ELEMENTS: usize = 1_000_000;
/// The same for what the controller sends: the state of a whole cluster.
const CONTROLLER_ELEMENTS: usize = 8_000_000;

/// The element budget for requests of `api_key`.
pub fn element_budget(api_key: i16) -> usize {
    match api_key {
        4..=6 => CONTROLLER_ELEMENTS,
        _ => CLIENT_ELEMENTS,
    }
}

/// Checks a request body, the bytes after the request header. Bytes behind the last field are tolerated, as in Kafka.
pub fn check(api_key: i16, version: i16, body: &[u8], budget: usize) -> Result<(), ProtocolError> {
    known(api_key, version)?;
    walk(Schema::request(api_key).ok_or(ProtocolError::UnknownApi(api_key))?, version, body, budget)
}

/// Checks a response body, the bytes after the response header.
pub fn check_response(api_key: i16, version: i16, body: &[u8], budget: usize) -> Result<(), ProtocolError> {
    known(api_key, version)?;
    walk(Schema::response(api_key).ok_or(ProtocolError::UnknownApi(api_key))?, version, body, budget)
}

fn known(api_key: i16, version: i16) -> Result<(), ProtocolError> {
    let row = api::find(api_key).ok_or(ProtocolError::UnknownApi(api_key))?;
    if row.serves(version) { Ok(()) } else { Err(ProtocolError::UnsupportedVersion { api: row.name, version }) }
}

fn walk(schema: &'static Schema, version: i16, body: &[u8], budget: usize) -> Result<(), ProtocolError> {
    let flexible = version >= schema.flexible_from;
    let mut walker = Walker { at: Cursor::new(body), version, flexible, left: budget, budget, field: "", item: 0 };
    walker.fields(schema.fields).map_err(|reason| ProtocolError::Malformed {
        message: schema.name,
        version,
        offset: walker.item,
        field: walker.field,
        reason,
    })
}

struct Walker<'a> {
    at: Cursor<'a>,
    version: i16,
    flexible: bool,
    /// Elements that may still come.
    left: usize,
    budget: usize,
    /// The field being read and where its current item starts: the place an error names.
    field: &'static str,
    item: usize,
}

impl Walker<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        for field in fields {
            if field.is_inline(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible {
            self.tagged_section(fields)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field) -> Result<(), Malformed> {
        self.field = field.name;
        self.item = self.at.offset();
        match &field.ty {
            Type::Fixed(size) => self.at.skip(*size),
            Type::String => self.string(field.is_nullable(self.version)),
            Type::Bytes => self.bytes(field.is_nullable(self.version)),
            Type::Struct(inner) => self.structure(inner, field.is_nullable(self.version)),
            Type::Structs(inner) => {
                for _ in 0..self.count(field.is_nullable(self.version))? {
                    self.spend(1)?;
                    self.fields(inner)?;
                }
                Ok(())
            }
            Type::Array(element) => {
                let count = self.count(field.is_nullable(self.version))?;
                self.primitives(element, count)
            }
        }
    }

    fn structure(&mut self, fields: &'static [Field], nullable: bool) -> Result<(), Malformed> {
        if nullable {
            match self.at.i8()? {
                -1 => return Ok(()),
                1 => {}
                other => return Err(Malformed::Presence(other)),
            }
        }
        self.fields(fields)
    }

    fn primitives(&mut self, element: &'static Type, count: usize) -> Result<(), Malformed> {
        if let Type::Fixed(size) = element {
            return self.at.skip(count.saturating_mul(*size));
        }
        for _ in 0..count {
            self.item = self.at.offset();
            match element {
                Type::String => self.string(false)?,
                _ => self.bytes(false)?,
            }
        }
        Ok(())
    }

    /// An array's count, zero for null. No element takes less than one byte (a test holds the tables to it), so
    /// more elements than bytes cannot be; the walk through them finds the rest.
    fn count(&mut self, nullable: bool) -> Result<usize, Malformed> {
        let count = if self.flexible { self.at.compact_length()? } else { self.at.length_i32()? };
        match count {
            None if nullable => Ok(0),
            None => Err(Malformed::Null),
            Some(count) if count > self.at.remaining() => {
                Err(Malformed::CountBeyondFrame { count, have: self.at.remaining() })
            }
            Some(count) => Ok(count),
        }
    }

    fn string(&mut self, nullable: bool) -> Result<(), Malformed> {
        let length = if self.flexible { self.at.compact_length()? } else { self.at.length_i16()? };
        match length {
            Some(length) if length > i16::MAX as usize => Err(Malformed::StringTooLong(length)),
            other => self.sized(other, nullable),
        }
    }

    fn bytes(&mut self, nullable: bool) -> Result<(), Malformed> {
        let length = if self.flexible { self.at.compact_length()? } else { self.at.length_i32()? };
        self.sized(length, nullable)
    }

    fn sized(&mut self, length: Option<usize>, nullable: bool) -> Result<(), Malformed> {
        self.spend(1)?;
        match length {
            Some(length) => self.at.skip(length),
            None if nullable => Ok(()),
            None => Err(Malformed::Null),
        }
    }

    fn tagged_section(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        self.field = "tagged fields";
        self.item = self.at.offset();
        for _ in 0..self.at.varint()? {
            self.item = self.at.offset();
            self.spend(1)?;
            let tag = self.at.varint()?;
            if tag > i32::MAX as u32 {
                return Err(Malformed::Tag(tag));
            }
            let declared = self.at.varint()? as usize;
            self.at.need(declared)?;
            match fields.iter().find(|field| field.tag_in(self.version) == Some(tag)) {
                None => self.at.skip(declared)?,
                Some(field) => {
                    let start = self.at.offset();
                    self.field(field)?;
                    let used = self.at.offset().saturating_sub(start);
                    if used != declared {
                        return Err(Malformed::TaggedFieldSize { declared, used });
                    }
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, elements: usize) -> Result<(), Malformed> {
        self.left = self.left.checked_sub(elements).ok_or(Malformed::Budget(self.budget))?;
        Ok(())
    }
}
