//! Seeded storms.
