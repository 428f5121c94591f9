//! Batches: what waits for one topic travels in one envelope.
//!
//! A batch is a sequence of `length u16 BE ∥ version u8 ∥ postcard`, the length counting version and body, so that a message of a
//! newer version, or of a kind we do not know yet, is counted and skipped. Every decode is capped by the payload's size.

use crate::limits;
use crate::messages::Message;

const PREFIX_BYTES: usize = 2;

/// Why a message was not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Over its own limits, or over [`limits::MESSAGE_BYTES_MAX`].
    #[error("a message exceeds its limits")]
    TooLarge,
}

/// Why a batch was not decoded at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A length runs past the end.
    #[error("a batch ends inside a message")]
    Truncated,
}

/// A decoded batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<M> {
    /// What we understood, in order.
    pub messages: Vec<M>,
    /// Newer versions or kinds, skipped.
    pub unknown: usize,
    /// Of a kind we know, yet broken or over its limits; skipped.
    pub malformed: usize,
}

/// One message with its length in front, ready to be put into a batch.
///
/// # Errors
/// [`EncodeError::TooLarge`].
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    if !message.is_within_limits() {
        return Err(EncodeError::TooLarge);
    }
    let out = vec![0, 0, limits::MSG_VERSION];
    let mut out = postcard::to_extend(message, out).map_err(|_| EncodeError::TooLarge)?;
    let len = out.len() - PREFIX_BYTES;
    if len > limits::MESSAGE_BYTES_MAX {
        return Err(EncodeError::TooLarge);
    }
    let len = u16::try_from(len).map_err(|_| EncodeError::TooLarge)?;
    out[..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    Ok(out)
}

/// Reads a batch.
///
/// # Errors
/// [`BatchError::Truncated`]; nothing of such a batch is used.
pub fn decode<M: Message>(mut batch: &[u8]) -> Result<Batch<M>, BatchError> {
    let mut out = Batch { messages: Vec::new(), unknown: 0, malformed: 0 };
    while !batch.is_empty() {
        let (len, rest) = batch.split_first_chunk::<PREFIX_BYTES>().ok_or(BatchError::Truncated)?;
        let (message, rest) =
            rest.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(BatchError::Truncated)?;
        batch = rest;
        match message.split_first() {
            Some((&limits::MSG_VERSION, body)) => match decode_body(body) {
                Body::Known(message) => out.messages.push(message),
                Body::Unknown => out.unknown += 1,
                Body::Malformed => out.malformed += 1,
            },
            Some((&version, _)) if version > limits::MSG_VERSION => out.unknown += 1,
            _ => out.malformed += 1,
        }
    }
    Ok(out)
}

enum Body<M> {
    Known(M),
    Unknown,
    Malformed,
}

fn decode_body<M: Message>(body: &[u8]) -> Body<M> {
    match postcard::take_from_bytes::<u32>(body) {
        Ok((variant, _)) if variant >= M::VARIANTS => return Body::Unknown,
        Ok(_) => {}
        Err(_) => return Body::Malformed,
    }
    match postcard::take_from_bytes::<M>(body) {
        Ok((message, [])) if message.is_within_limits() => Body::Known(message),
        _ => Body::Malformed,
    }
}

#[cfg(test)]
mod tests;
