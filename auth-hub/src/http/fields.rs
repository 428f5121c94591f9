//! A body's members, read strictly by their table.
//!
//! Knows JSON, no header and no resource. Invariants: a refusal names members of the table and what they should be, never what was sent;
//! what the table does not name is not kept, however deep it lies; what is kept is wiped when dropped, and has no `Debug`.

mod wishes;

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use shared_msgs::text::is_plain;
use zeroize::Zeroizing;

use super::members::{BUILD, Form, LATENCIES_MAX, Member, Members, TEXTS_MAX};
use super::problem::{Kind, Problem};
use crate::accounts::Build;

pub(super) use wishes::Wishes;

/// The members of a JSON object. No body at all is an empty one.
pub(super) struct Fields(Vec<(&'static Member, Scalar)>);

enum Scalar {
    Null,
    Text(Zeroizing<String>),
    Flag(bool),
    /// As many as a list may have, and how many there were.
    Texts(Vec<Zeroizing<String>>, usize),
    /// As many as an object may have, and how many there were.
    Numbers(Vec<(Zeroizing<String>, u32)>, usize),
    /// A whole number; in an object of them alone.
    Number(u64),
    /// Another number, an object of something else than numbers, or a list of something else than texts: no member is one.
    Other,
}

impl Scalar {
    fn fits(&self, member: &Member) -> bool {
        match (self, member.form) {
            (Self::Null, _) => !member.needed,
            (Self::Text(_), Form::Text { .. })
            | (Self::Flag(_), Form::Flag { .. })
            | (Self::Texts(..), Form::Texts { .. })
            | (Self::Numbers(..), Form::Numbers { .. })
            | (Self::Number(_), Form::Number { .. }) => true,
            _ => false,
        }
    }
}

impl Fields {
    /// The members of a body.
    pub(super) fn read(body: &[u8], members: Members) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let text = std::str::from_utf8(body)
            .map_err(|_| Problem::because(Kind::MalformedRequest, "the body is not UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(Object(members)).and_then(|read| json.end().map(|()| read));
        // serde's own words may quote the body, and with it a password.
        read.map_err(|err| {
            let detail = format!("not a JSON object, see line {}, column {}", err.line(), err.column());
            Problem::because(Kind::MalformedRequest, detail)
        })?
    }

    fn take(&mut self, member: &Member) -> Option<Scalar> {
        let at = self.0.iter().position(|(held, _)| held.name == member.name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A member that must be there.
    pub(super) fn text(&mut self, member: &'static Member) -> Result<String, Problem> {
        self.optional_text(member).ok_or_else(|| invalid(member, "is missing"))
    }

    /// A member that may be missing or null.
    pub(super) fn optional_text(&mut self, member: &'static Member) -> Option<String> {
        match self.take(member) {
            Some(Scalar::Text(mut text)) => Some(std::mem::take(&mut *text)),
            _ => None,
        }
    }

    /// A member that has a default when it is missing or null.
    pub(super) fn flag(&mut self, member: &'static Member) -> bool {
        match (self.take(member), member.form) {
            (Some(Scalar::Flag(flag)), _) => flag,
            (_, Form::Flag { default }) => default,
            (_, Form::Text { .. } | Form::Texts { .. } | Form::Numbers { .. } | Form::Number { .. }) => false,
        }
    }

    /// A list that may be missing: none then. Its texts are not empty, and within the member's bounds.
    pub(super) fn texts(&mut self, member: &'static Member) -> Result<Vec<String>, Problem> {
        let (Some(Scalar::Texts(mut texts, count)), Form::Texts { items_max, bytes_max, .. }) =
            (self.take(member), member.form)
        else {
            return Ok(Vec::new());
        };
        if count > items_max {
            return Err(invalid(member, &format!("has at most {items_max} of them")));
        }
        if texts.iter().any(|text| text.is_empty() || text.len() > bytes_max) {
            return Err(invalid(member, &format!("has texts of 1 to {bytes_max} bytes")));
        }
        Ok(texts.iter_mut().map(|text| std::mem::take(&mut **text)).collect())
    }

    /// A number that may be missing, within the member's bounds.
    pub(super) fn number(&mut self, member: &'static Member) -> Result<Option<u64>, Problem> {
        match (self.take(member), member.form) {
            (Some(Scalar::Number(number)), Form::Number { min, max }) if (min..=max).contains(&number) => {
                Ok(Some(number))
            }
            (Some(Scalar::Number(_)), Form::Number { min, max }) => {
                Err(invalid(member, &format!("is {min} to {max}")))
            }
            _ => Ok(None),
        }
    }

    /// A text that may be missing: one line within the member's bounds, with nothing in it that is not seen or that could steer a screen.
    pub(super) fn line(&mut self, member: &'static Member) -> Result<Option<String>, Problem> {
        let Some(text) = self.optional_text(member) else { return Ok(None) };
        let Form::Text { bytes_min, bytes_max, .. } = member.form else { return Ok(None) };
        if !(bytes_min..=bytes_max).contains(&text.len()) {
            return Err(invalid(member, &format!("has {bytes_min} to {bytes_max} bytes")));
        }
        if !text.chars().all(is_plain) {
            return Err(invalid(member, "is one line, without control or invisible characters"));
        }
        Ok(Some(text))
    }

    /// As [`Fields::line`], where it must be there.
    pub(super) fn needed_line(&mut self, member: &'static Member) -> Result<String, Problem> {
        self.line(member)?.ok_or_else(|| invalid(member, "is missing"))
    }

    /// A member that its type reads, if it is there.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        member: &'static Member,
        what: &str,
    ) -> Result<Option<T>, Problem> {
        let text = self.optional_text(member);
        text.map(|text| text.parse().map_err(|_| invalid(member, what))).transpose()
    }

    /// What asks.
    pub(super) fn build(&mut self) -> Result<Option<Build>, Problem> {
        self.parsed(&BUILD, "is not dotted numbers")
    }
}

pub(super) fn invalid(member: &Member, what: &str) -> Problem {
    Problem::because(Kind::InvalidRequest, format!("`{}` {what}", member.name))
}

fn unknown(members: Members) -> Problem {
    let known: Vec<_> = members.iter().map(|member| format!("`{}`", member.name)).collect();
    Problem::because(Kind::InvalidRequest, format!("a member is unknown; known are {}", known.join(", ")))
}

/// Reads an object. Goes on to its end after a fault: what is no JSON is that first of all.
struct Object(Members);

impl<'de> Visitor<'de> for Object {
    type Value = Result<Fields, Problem>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // Its capacity is its bound: texts are never copied by growing.
        let mut fields = Fields(Vec::with_capacity(self.0.len()));
        let mut fault = None;
        while let Some(key) = map.next_key_seed(Key(self.0))? {
            let Some(member) = key else {
                map.next_value::<IgnoredAny>()?;
                fault.get_or_insert_with(|| unknown(self.0));
                continue;
            };
            let value: Scalar = map.next_value()?;
            if fields.0.iter().any(|(held, _)| held.name == member.name) {
                fault.get_or_insert_with(|| invalid(member, "stands there twice"));
            } else if value.fits(member) {
                fields.0.push((member, value));
            } else if matches!(value, Scalar::Null) {
                fault.get_or_insert_with(|| invalid(member, "is missing"));
            } else {
                fault.get_or_insert_with(|| invalid(member, member.must_be()));
            }
        }
        Ok(fault.map_or(Ok(fields), Err))
    }
}

/// Finds a name in the table; the name itself is not kept.
struct Key(Members);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Member>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Member>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|member| member.name == name).copied())
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any { keeps_parts: true })
    }
}

/// Reads any value; of what lies in a list, only texts are kept, and of what lies in an object, only whole numbers.
struct Any {
    keeps_parts: bool,
}

/// What stands in a list.
struct Item(Scalar);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any { keeps_parts: false }).map(Self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Scalar;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(Zeroizing::new(text.to_owned())))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        // JSON has one kind of number: 23.0 is a whole one.
        let whole = (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok()).flatten();
        Ok(whole.map_or(Scalar::Other, Scalar::Number))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        let (mut texts, mut count) = (Vec::with_capacity(TEXTS_MAX), 0);
        while self.keeps_parts
            && let Some(Item(item)) = list.next_element()?
        {
            match item {
                Scalar::Text(text) if texts.len() < TEXTS_MAX => texts.push(text),
                Scalar::Text(_) => {}
                // Read to its end as what is not kept.
                _ => return Self { keeps_parts: false }.visit_seq(list),
            }
            count += 1;
        }
        if self.keeps_parts {
            return Ok(Scalar::Texts(texts, count));
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        let (mut numbers, mut count) = (Vec::with_capacity(LATENCIES_MAX), 0);
        while self.keeps_parts
            && let Some((name, Item(item))) = map.next_entry::<String, Item>()?
        {
            match item {
                Scalar::Number(number) if numbers.len() < LATENCIES_MAX => {
                    // A greater one is beyond every bound, whatever it is.
                    numbers.push((name.into(), u32::try_from(number).unwrap_or(u32::MAX)));
                }
                Scalar::Number(_) => {}
                _ => return Self { keeps_parts: false }.visit_map(map),
            }
            count += 1;
        }
        if self.keeps_parts {
            return Ok(Scalar::Numbers(numbers, count));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
