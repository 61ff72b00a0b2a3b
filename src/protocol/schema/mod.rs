//! The shapes of Kafka 3.7's request and response bodies, as static tables that `frame` walks before anything is
//! decoded. Holds no state. It answers to Kafka's message definitions and the readers generated from them.
//!
//! The tables do not recurse, so the depth of any walk is bounded by the deepest table (a test keeps it below
//! [`MAX_DEPTH`]); how far a walk goes in breadth is the caller's element budget.

#[rustfmt::skip]
mod requests;
#[rustfmt::skip]
mod responses;

/// "Up to the newest version" in a version range.
pub(super) const MAX: i16 = i16::MAX;
/// `flexible_from` of a message that has no flexible version.
pub(super) const NEVER: i16 = i16::MAX;
/// No table nests deeper than this.
#[cfg(test)]
const MAX_DEPTH: usize = 6;

/// One message body: its fields in wire order.
pub(super) struct Schema {
    /// Kafka's name, such as `FetchRequest`.
    pub name: &'static str,
    /// First version with compact lengths and tagged fields.
    pub flexible_from: i16,
    pub fields: &'static [Field],
}

/// One field, in all versions that have it.
pub(super) struct Field {
    pub name: &'static str,
    first: i16,
    last: i16,
    pub ty: Type,
    null_first: i16,
    null_last: i16,
    /// Tag number, meaningful from `tag_first` on.
    tag: u32,
    tag_first: i16,
}

/// What a field holds, as far as its size on the wire goes.
pub(super) enum Type {
    /// A number, boolean or uuid of that many bytes.
    Fixed(usize),
    String,
    /// Bytes, and records (record batches as they are; `record` looks into those).
    Bytes,
    Struct(&'static [Field]),
    /// An array of structures.
    Structs(&'static [Field]),
    /// An array of a primitive type.
    Array(&'static Type),
}

const BOOL: Type = Type::Fixed(1);
const INT8: Type = Type::Fixed(1);
const INT16: Type = Type::Fixed(2);
const INT32: Type = Type::Fixed(4);
const INT64: Type = Type::Fixed(8);
const FLOAT64: Type = Type::Fixed(8);
const UUID: Type = Type::Fixed(16);
const STRING: Type = Type::String;
const BYTES: Type = Type::Bytes;
const RECORDS: Type = Type::Bytes;

const fn structure(fields: &'static [Field]) -> Type {
    Type::Struct(fields)
}

const fn structs(fields: &'static [Field]) -> Type {
    Type::Structs(fields)
}

const fn array_of(element: &'static Type) -> Type {
    Type::Array(element)
}

/// A field that versions `first..=last` have.
const fn f(name: &'static str, first: i16, last: i16, ty: Type) -> Field {
    Field { name, first, last, ty, null_first: 1, null_last: 0, tag: 0, tag_first: NEVER }
}

impl Field {
    const fn null(mut self, first: i16, last: i16) -> Field {
        self.null_first = first;
        self.null_last = last;
        self
    }

    const fn tag(mut self, tag: u32, first: i16) -> Field {
        self.tag = tag;
        self.tag_first = first;
        self
    }

    fn exists(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// Whether the field stands in line, between its neighbours.
    pub fn is_inline(&self, version: i16) -> bool {
        self.exists(version) && version < self.tag_first
    }

    /// The tag under which the field stands in the tagged section, if it does.
    pub fn tag_in(&self, version: i16) -> Option<u32> {
        (self.exists(version) && version >= self.tag_first).then_some(self.tag)
    }

    pub fn is_nullable(&self, version: i16) -> bool {
        self.null_first <= version && version <= self.null_last
    }
}

impl Schema {
    const fn new(name: &'static str, flexible_from: i16, fields: &'static [Field]) -> Schema {
        Schema { name, flexible_from, fields }
    }

    /// The request body of `api_key`; none for a key that is not in the api table.
    pub fn request(api_key: i16) -> Option<&'static Schema> {
        requests::schema(api_key)
    }

    /// The response body of `api_key`; none for a key that is not in the api table.
    pub fn response(api_key: i16) -> Option<&'static Schema> {
        responses::schema(api_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api;

    fn depth(fields: &[Field]) -> usize {
        let below = fields.iter().map(|field| match field.ty {
            Type::Struct(inner) | Type::Structs(inner) => depth(inner),
            _ => 0,
        });
        1 + below.max().unwrap_or(0)
    }

    /// A walk bounds itself by the bytes that are there, so no element may take none.
    fn elements_take_bytes(fields: &[Field], version: i16, flexible: bool) -> bool {
        fields.iter().filter(|field| field.exists(version)).all(|field| match field.ty {
            Type::Structs(inner) => {
                (flexible || inner.iter().any(|field| field.is_inline(version)))
                    && elements_take_bytes(inner, version, flexible)
            }
            Type::Struct(inner) => elements_take_bytes(inner, version, flexible),
            _ => true,
        })
    }

    #[test]
    fn every_api_has_both_shapes_and_they_are_flexible_where_the_api_table_says() {
        for row in api::table() {
            for (schema, suffix) in [(Schema::request(row.key), "Request"), (Schema::response(row.key), "Response")] {
                let schema = schema.unwrap();
                assert_eq!(schema.name, format!("{}{suffix}", row.name));
                assert_eq!(schema.flexible_from, row.flexible_from.unwrap_or(NEVER), "{}", schema.name);
                assert!(depth(schema.fields) < MAX_DEPTH, "{}", schema.name);
                for version in row.min..=row.max {
                    let flexible = version >= schema.flexible_from;
                    assert!(elements_take_bytes(schema.fields, version, flexible), "{} v{version}", schema.name);
                }
            }
        }
        assert!(Schema::request(52).is_none());
    }
}
