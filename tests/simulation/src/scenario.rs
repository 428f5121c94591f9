//! What a seed stands for: how many of what, how bad the network is, how often what dies.

use crate::dice::Dice;
use crate::facts::Ms;
use crate::tickets::QueuePlan;

/// A server machine: processes come and go on it.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    /// Its id.
    pub(crate) id: String,
    /// Its realm.
    pub(crate) realm: String,
    /// Its region.
    pub(crate) region: String,
    /// Slots.
    pub(crate) max_players: u32,
    /// Parked clients it allows.
    pub(crate) parked_max: u32,
}

/// How the network treats what passes through it; shares are per mille.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Lost.
    pub(crate) drop: u64,
    /// Delivered twice.
    pub(crate) duplicate: u64,
    /// A copy with one bit flipped comes along.
    pub(crate) alter: u64,
    /// Something overheard before is delivered again.
    pub(crate) replay: u64,
    /// Acknowledgements lost.
    pub(crate) drop_ack: u64,
    /// Usual delay at most.
    pub(crate) delay: Ms,
    /// Unusual delay at most.
    pub(crate) delay_tail: Ms,
}

impl Weather {
    /// Nothing is lost, nothing takes long.
    pub(crate) const FAIR: Self =
        Self { drop: 0, duplicate: 0, alter: 0, replay: 0, drop_ack: 0, delay: 4, delay_tail: 4 };

    fn foul(dice: &Dice) -> Self {
        // A third of the storms have a network that loses nothing: the races of plain timing are found there.
        let is_lossy = dice.below(3) > 0;
        let share = |most: u64| if is_lossy { dice.below(most + 1) } else { 0 };
        let delay = dice.between(2, 80);
        Self {
            drop: share(300),
            duplicate: share(500),
            alter: share(50),
            replay: share(50),
            drop_ack: share(20),
            delay,
            delay_tail: delay + dice.below(4_000),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Hub machines, each with a number of its own.
    pub(crate) hubs: u16,
    /// Whether the broker dies with the hub.
    pub(crate) is_embedded: bool,
    /// Server machines.
    pub(crate) servers: Vec<ServerPlan>,
    /// Accounts; each has a device.
    pub(crate) accounts: i64,
    /// Further devices of the first accounts.
    pub(crate) second_devices: i64,
    /// How long things go wrong.
    pub(crate) storm: Ms,
    /// A player's pause between two logins at most.
    pub(crate) pause: Ms,
    /// A session's length at most.
    pub(crate) play: Ms,
    /// The network in the storm.
    pub(crate) weather: Weather,
    /// Something breaks about this often.
    pub(crate) fault_every: Ms,
    /// Wall clocks are off by this much at most, either way.
    pub(crate) offset: Ms,
    /// And gain or lose this many microseconds a second at most.
    pub(crate) drift_ppm: u64,
    /// Clients that do as they should, per mille.
    pub(crate) honest: u64,
    /// How those wait for whom there is no slot.
    pub(crate) queue: Option<QueuePlan>,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn new(dice: &Dice) -> Self {
        let hubs = u16::try_from(1 + dice.below(6).saturating_sub(3)).unwrap_or(1);
        let is_big = dice.below(20) == 0;
        // Long enough that tokens, marks and floors run out while everything goes wrong.
        let is_long = !is_big && dice.below(5) == 0;
        let accounts = match (is_big, is_long) {
            (true, _) => dice.between(100, 300),
            (_, true) => dice.between(2, 12),
            _ => dice.between(2, 40),
        };
        let count = dice.between(1, 8);
        // Mostly enough room for all, now and then too little.
        let room = if dice.below(6) == 0 { accounts / 2 } else { accounts + accounts / 3 };
        let servers = (0..count).map(|n| {
            let share = 1 + room / count + dice.below(3);
            ServerPlan {
                id: format!("s{n}"),
                realm: if dice.below(3) == 0 { "q" } else { "r" }.to_owned(),
                region: if dice.below(2) == 0 { "eu" } else { "us" }.to_owned(),
                max_players: u32::try_from(share).unwrap_or(1),
                parked_max: if dice.below(4) == 0 { 2 } else { 64 },
            }
        });
        Self {
            hubs,
            is_embedded: hubs == 1 && dice.below(2) == 0,
            servers: servers.collect(),
            accounts: i64::try_from(accounts).unwrap_or(2),
            second_devices: i64::try_from(dice.below(accounts / 2 + 1)).unwrap_or(0),
            storm: if is_long { dice.between(200, 500) } else { dice.between(15, 60) } * 1_000,
            pause: if is_long { dice.between(2_000, 40_000) } else { dice.between(200, 3_000) },
            play: dice.between(500, 10_000),
            weather: Weather::foul(dice),
            fault_every: if is_long { dice.between(2_000, 30_000) } else { dice.between(300, 10_000) },
            offset: if dice.below(4) == 0 { dice.below(30_001) } else { dice.below(15_001) },
            drift_ppm: dice.below(201),
            honest: dice.between(500, 1_000),
            queue: None,
        }
    }

    /// Where the seed has a queue: few slots for many, on few servers, so that it fills.
    pub(crate) fn with_queue(mut self, seed: u64) -> Self {
        let Some((plan, dice)) = QueuePlan::of(seed, self.hubs) else { return self };
        self.queue = Some(plan);
        self.accounts = self.accounts.max(6);
        self.servers.truncate(usize::try_from(dice.between(1, 3)).unwrap_or(1));
        let count = u32::try_from(self.servers.len()).unwrap_or(1);
        let room = u32::try_from(self.accounts).unwrap_or(6) / u32::try_from(dice.between(2, 5)).unwrap_or(2);
        for server in &mut self.servers {
            // A party that no server could take would wait for ever.
            server.max_players = (1 + room / count).max(u32::from(plan.party));
        }
        self
    }

    /// Slots in all.
    pub(crate) fn room(&self) -> i64 {
        self.servers.iter().map(|server| i64::from(server.max_players)).sum()
    }
}
