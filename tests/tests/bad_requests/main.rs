//! What no client should send, byte by byte, against a live hub: each is answered by its named problem, and hurts nobody else.

#![cfg(test)]

mod bodies;
mod heads;
mod names;
mod rig;
