//! Races and faults on real sockets: a hub with its broker, game servers behind fault proxies, clients. Order is made by holding taps and
//! awaiting named events, never by waiting for time.

mod arrivals;
mod deaths;
mod duplicates;
mod envelopes;
mod fleet;
mod grants;
mod moves;
mod operators;
mod overload;
mod repeats;
mod returns;
mod saves;
mod sessions;
mod tokens;
