//! The login queue of a real hub: real broker, real game servers, real clients that wait their turn.

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod rush;
