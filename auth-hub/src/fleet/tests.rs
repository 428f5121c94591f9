//! Fleet tests follow.
