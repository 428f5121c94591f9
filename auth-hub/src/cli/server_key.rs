//! `auth-hub server-key`: the one line that a game server's configuration needs.
//!
//! Makes the fleet key where there is none; says nothing to a hub. Invariant: a key that the hub would refuse is not printed.

use anyhow::ensure;
use shared_msgs::ids::ServerId;
use shared_msgs::keys::FIRST_GENERATION;
use shared_msgs::rng::SystemRng;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::keyfile;

pub(super) async fn line(
    config: &Config,
    server: &ServerId,
    generation: Option<u32>,
) -> anyhow::Result<Zeroizing<String>> {
    let lowest = lowest_generation(config, server).await?;
    let generation = generation.unwrap_or(lowest);
    ensure!(generation >= lowest, "generation {generation} is revoked: the lowest accepted one is {lowest}");
    let fleet = keyfile::load_or_create(&config.keys.fleet_key_file, &SystemRng::new())?;
    Ok(fleet.server_key(server, generation).to_line())
}

async fn lowest_generation(config: &Config, server: &ServerId) -> anyhow::Result<u32> {
    // No database, nothing revoked: printing a key is no reason to make one.
    if !config.database.path.exists() {
        return Ok(FIRST_GENERATION);
    }
    let store = super::open_store(config, &CancellationToken::new()).await?;
    let generations = store.lowest_generations().await?;
    store.close().await;
    let found = generations.into_iter().find(|(id, _)| id == server);
    Ok(found.map_or(FIRST_GENERATION, |(_, lowest)| lowest.max(FIRST_GENERATION)))
}
