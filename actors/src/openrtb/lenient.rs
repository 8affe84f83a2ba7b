//! Field readers that forgive. Real exchanges send a string where a number belongs and `null` where an object does; that
//! must cost the field, not the request. A field of a wrong type reads as absent; a *price* of a wrong type does not, or
//! a bid would ignore a floor.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;

use super::{LIST_MAX, Price};
use crate::money::{Cpm, PriceError};

/// Text of a raw JSON value; `None` if it is no string or has no Unicode meaning (a lone surrogate).
pub(super) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// A string, borrowed from the line unless it has escapes.
pub(super) fn text<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(text_of(<&'a RawValue>::deserialize(from)?.get()))
}

/// A whole number; `2.0` counts as one.
pub(super) fn int<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?.get();
    Ok(raw.parse().ok().or_else(|| {
        let float: f64 = raw.parse().ok()?;
        // 2^53: beyond it a float no longer says which whole number was meant.
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    }))
}

/// A flag: 1 or `true`.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(matches!(<&RawValue>::deserialize(from)?.get(), "1" | "true" | "1.0"))
}

/// Whether the field is there at all and not `null`.
pub(super) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(<&RawValue>::deserialize(from)?.get() != "null")
}

/// A price per thousand. What is no price is kept as the reason why.
pub(super) fn price<'de, D: Deserializer<'de>>(from: D) -> Result<Price, D::Error> {
    let raw = <&RawValue>::deserialize(from)?.get();
    if raw == "null" {
        return Ok(Price::Absent);
    }
    let units = raw.parse::<f64>().map_err(|_| PriceError::NotANumber);
    Ok(match units.and_then(Cpm::from_units) {
        Ok(cpm) => Price::Valid(cpm),
        Err(error) => Price::Invalid(error),
    })
}

/// An object, or absent if the value is anything else.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Maybe::<T>::deserialize(from).map(|maybe| maybe.0)
}

/// The strings of an array, at most [`LIST_MAX`]; other elements are passed over.
pub(super) fn texts<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Vec<Cow<'a, str>>, D::Error> {
    struct Element<'a>(Option<Cow<'a, str>>);
    impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            text(from).map(Element)
        }
    }
    let elements: Vec<Element<'a>> = list(from)?.unwrap_or_default();
    Ok(elements.into_iter().filter_map(|element| element.0).collect())
}

/// The objects of an array, at most [`LIST_MAX`]; `None` if the value is no array.
pub(super) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    let elements: Option<Vec<Maybe<T>>> = list(from)?;
    Ok(elements.map(|elements| elements.into_iter().filter_map(|element| element.0).collect()))
}

/// As [`objects`], with "no array" read as an empty one.
pub(super) fn objects_or_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(objects(from)?.unwrap_or_default())
}

fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    struct List<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Option<Vec<T>>;
        tolerate!();
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while list.len() < LIST_MAX {
                match seq.next_element()? {
                    Some(element) => list.push(element),
                    None => return Ok(Some(list)),
                }
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Some(list))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    from.deserialize_any(List(PhantomData))
}

struct Maybe<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Option<T>;
            tolerate!();
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
        from.deserialize_any(Object(PhantomData)).map(Maybe)
    }
}

/// The scalars that a visitor for a compound takes for "absent".
macro_rules! tolerate {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    };
}
use tolerate;
