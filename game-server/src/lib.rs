//! Skeleton.
pub mod gate;
mod token_cache;
